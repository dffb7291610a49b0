"""Pingora as it comes: `loadtest/stock_pingora.rs`."""

import os

NAME = "stock Pingora"
VERSION = None
CHECKS = False


def command(job):
    env = {**os.environ}
    if job.tls:
        env |= {"TLS_CERT": str(job.cert), "TLS_KEY": str(job.key)}
    return [os.environ["STOCK_PINGORA_BIN"], f"127.0.0.1:{job.port}", *job.origins], env

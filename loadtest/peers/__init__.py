"""The load balancers that Tidegate is held against. Each module says how one of them does the same job: one worker, two
origins or more in turn, connections to them kept, X-Forwarded-For."""

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass
class Job:
    """What a proxy is to do."""

    port: int
    origins: list
    folder: Path
    tls: bool = False
    # Probe the origins at /healthz every second.
    checks: bool = False
    # Take requests before the handshake is done.
    early: bool = False
    # Tidegate only: number of routes and pools, and everything that it has.
    routes: int = 1
    pools: int = 1
    full: bool = False
    # 0: as many as there are CPUs.
    threads: int = 1

    @property
    def cert(self):
        return self.folder.parent / "cert.pem"

    @property
    def key(self):
        return self.folder.parent / "key.pem"

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)


# Go programs and everything else that starts a thread for each CPU.
ONE_CPU = {**os.environ, "GOMAXPROCS": "1"}
# Connections are kept for longer than any scenario takes.
KEEP = 600


def all_peers():
    """By the name that is shown, Tidegate first."""
    from . import caddy, envoy, haproxy, nginx, pingora, tidegate, traefik

    return {m.NAME: m for m in (tidegate, nginx, haproxy, envoy, caddy, traefik, pingora)}

"""What is measured, in the order of the report."""

import dataclasses
import json
import subprocess
import sys

from . import load
from .machine import LOAD_CORE

SMALL, LARGE = 1024, 60 * 1024


@dataclasses.dataclass
class Scenario:
    name: str
    about: str
    # (port, seconds, folder) -> what the load saw
    drive: object
    tls: bool = False
    origins: int = 2
    checks: bool = False


def get(size, tls=False, close=False):
    scheme = "https" if tls else "http"
    return lambda port, seconds, folder: load.wrk(f"{scheme}://127.0.0.1:{port}/{size}", seconds, close=close)


def h2(size):
    return lambda port, seconds, folder: load.h2load(f"https://127.0.0.1:{port}/{size}", seconds, folder)


def upload(size):
    def drive(port, seconds, folder):
        return load.wrk(f"http://127.0.0.1:{port}/upload", seconds, folder=folder, body=size)

    return drive


def handshakes(kind):
    """In a process of its own, so that it can be pinned."""

    def drive(port, seconds, folder):
        command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "compare.load", str(port), str(seconds), kind]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise load.Failed(done.stderr)
        return json.loads(done.stdout)

    return drive


# Every peer takes part, as far as it can.
COMPARED = [
    Scenario("h1-1k", "1 KiB, HTTP/1.1 keep-alive", get(SMALL)),
    Scenario("h1-60k", "60 KiB, HTTP/1.1 keep-alive", get(LARGE)),
    Scenario("tls-1k", "1 KiB, HTTP/1.1 over TLS 1.3", get(SMALL, tls=True), tls=True),
    Scenario("tls-60k", "60 KiB, HTTP/1.1 over TLS 1.3", get(LARGE, tls=True), tls=True),
    Scenario("h2-1k", "1 KiB, HTTP/2 over TLS, 16 streams", h2(SMALL), tls=True),
    Scenario("h2-60k", "60 KiB, HTTP/2 over TLS, 16 streams", h2(LARGE), tls=True),
    Scenario("new-connection", "1 KiB, a new connection for each request", get(SMALL, close=True)),
    Scenario("new-handshake", "1 KiB, a full TLS handshake (ECDSA) for each request", handshakes("full"), tls=True),
    Scenario("resumed-handshake", "1 KiB, a resumed TLS handshake for each request", handshakes("resumed"), tls=True),
    Scenario("upload-64k", "upload of 64 KiB, HTTP/1.1", upload(64 * 1024)),
    Scenario("upload-10m", "upload of 10 MiB, HTTP/1.1", upload(10 * 1024 * 1024)),
    Scenario("backends-100", "1 KiB, 100 backends, health checks every second", get(SMALL), origins=100, checks=True),
    Scenario("backends-1000", "1 KiB, 1,000 backends", get(SMALL), origins=1000),
]


@dataclasses.dataclass
class Growth:
    """Tidegate against itself. The first step is 1.00."""

    about: str
    # (shown as, changes to the job)
    steps: list
    drive: object = get(SMALL)
    tls: bool = False


FULL = "100 routes, least_request, sticky cookie, passive health, access log, metrics, 2 filters"
FEATURES = [("bare", {}), (FULL, {"full": True, "routes": 100})]
NUMBERS = (1, 10, 100, 1000)

# Each in a table of its own.
GROWTH = {
    "features": Growth("features: 1 KiB, HTTP/1.1 keep-alive", FEATURES),
    "features-tls": Growth("features: 1 KiB, HTTP/1.1 over TLS 1.3", FEATURES, get(SMALL, tls=True), tls=True),
    "features-h2": Growth("features: 1 KiB, HTTP/2 over TLS, 16 streams", FEATURES, h2(SMALL), tls=True),
    "routes": Growth("routes: 1 KiB, HTTP/1.1 keep-alive", [(str(n), {"routes": n}) for n in NUMBERS]),
    "pools": Growth("pools: 1 KiB, HTTP/1.1 keep-alive", [(str(n), {"pools": n, "routes": n}) for n in NUMBERS]),
    "backends": Growth("backends: 1 KiB, HTTP/1.1 keep-alive", [(str(n), {"origins": n}) for n in NUMBERS]),
}

# Requests a second at which latency is held against direct access; the last is the seed's.
RATES = (5_000, 10_000, 20_000, 30_000)

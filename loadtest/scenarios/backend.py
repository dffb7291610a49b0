"""Sample backends as a scenario sees them."""

import asyncio
import json
import os
import signal
import sys
import time

from . import process


class Backend:
    """One backend, which may die and be started again on the same port."""

    def __init__(self, name, server="backend_server", **settings):
        self.name = name
        self.port = process.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = process.FOLDER / f"{name}-{self.port}.log"
        self.log.touch()
        self.server = server
        self.settings = settings
        self.child = None

    async def start(self):
        command = [sys.executable, "-m", f"{__package__}.{self.server}", "--port", str(self.port)]
        command += ["--name", self.name, "--log", str(self.log), "--settings", json.dumps(self.settings)]
        self.child = process.start(*command, errors=process.FOLDER / "backends.err")
        while not process.listens(self.port):
            if self.child.poll() is not None:
                raise RuntimeError(f"backend {self.name} ended: {(process.FOLDER / 'backends.err').read_text()}")
            await asyncio.sleep(0.02)
        return self

    def set(self, **settings):
        """Changes its behaviour from now on, restarts included."""
        self.settings.update(settings)
        self.child.stdin.write(json.dumps(settings).encode() + b"\n")
        self.child.stdin.flush()

    def signal(self, number):
        """Sends it and returns when."""
        os.kill(self.child.pid, number)
        return time.monotonic()

    def kill(self):
        at = self.signal(signal.SIGKILL)
        self.child.wait()
        return at

    async def ended(self):
        while self.child.poll() is None:
            await asyncio.sleep(0.05)

    def arrivals(self):
        """(time, id) of each request, probes left out, oldest first."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(float(at), name) for at, name in lines]


async def start_all(names, **settings):
    return await asyncio.gather(*(Backend(name, **settings).start() for name in names))

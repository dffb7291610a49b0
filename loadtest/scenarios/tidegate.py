"""A Tidegate process: configuration, start, reload, status, events."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from datetime import datetime

from . import process

# The event log has wall-clock times, everything else monotonic ones.
_WALL = time.time() - time.monotonic()


class Tidegate:
    """One listener, and the pools given. Everything not given is Tidegate's default."""

    def __init__(self, pools, routes=None):
        self.port, self.admin = process.free_port(), process.free_port()
        self.pools = pools
        self.routes = routes or [{"match": {"path_prefix": "/"}, "pool": next(iter(pools))}]
        self.file = process.FOLDER / f"tidegate-{self.port}.yaml"
        self.log = process.FOLDER / f"tidegate-{self.port}.events"
        self.child = None

    def write(self):
        # JSON is YAML. Renamed into place, so that no half of it is ever read.
        config = {
            "version": 1,
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "log": {"access": "off", "level": "info"},
            "listeners": [{"name": "public", "listen": f"127.0.0.1:{self.port}"}],
            "routes": self.routes,
            "pools": self.pools,
        }
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(config, indent=1))
        new.rename(self.file)

    async def start(self):
        self.write()
        self.child = process.start(os.environ["TIDEGATE_BIN"], "run", "-c", str(self.file), errors=self.log)
        while not (process.listens(self.port) and await self.all_settled()):
            if self.child.poll() is not None:
                raise RuntimeError(f"Tidegate ended: {self.log.read_text()}")
            await asyncio.sleep(0.1)
        return self

    async def all_settled(self):
        """Every backend has been probed, where probes are configured."""
        if not process.listens(self.admin):
            return False
        backends = [one for pool in (await self.status())["pools"] for one in pool["backends"]]
        return all(one["state"] != "checking" for one in backends)

    async def reload(self):
        """Takes `self.pools` as they are now; returns when it has."""
        before = len(self.events("config"))
        self.write()
        self.child.send_signal(signal.SIGHUP)
        while len(taken := self.events("config")) == before:
            await asyncio.sleep(0.02)
        if taken[-1]["result"] != "taken":
            raise RuntimeError(f"reload: {taken[-1]}")

    async def status(self):
        def get():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/status", timeout=5) as response:
                return json.load(response)

        return await asyncio.to_thread(get)

    async def backend(self, address):
        """Its part of `/status`; `None` when it is not configured."""
        backends = (one for pool in (await self.status())["pools"] for one in pool["backends"])
        return next((one for one in backends if one["address"] == address), None)

    def events(self, kind="backend_state", **wanted):
        """Events of this type with these members, each with its time as `at`."""
        events = []
        for line in self.log.read_text().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("type") == kind and all(event.get(k) == v for k, v in wanted.items()):
                events.append({**event, "at": datetime.fromisoformat(event["ts"]).timestamp() - _WALL})
        return events

    def left_rotation(self, backend, after):
        """When, and why, a backend went out; `(None, None)` when it has not."""
        # The log's times are cut to milliseconds.
        for event in self.events(backend=backend):
            if event["to"] in ("down", "ejected") and event["at"] >= after - 0.002:
                return event["at"], f"{event['to']}, {event['reason']}"
        return None, None

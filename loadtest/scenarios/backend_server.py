"""A sample backend, run as a child process: HTTP/1.1 with keep-alive, and WebSockets that echo.

Commands come as JSON objects, one a line, on standard input; they replace settings. When that ends, so does the
backend. Each request (not each probe) is one line `TIME ID` of the log, written as it arrives, so that it survives
SIGKILL. SIGTERM closes the listening socket, finishes what is in flight, and ends.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from urllib.parse import parse_qs, urlsplit

from . import websocket

PROBE = "/healthz"


class Backend:
    def __init__(self, name, log):
        self.settings = {"delay": 0.0, "status": 200, "probe_status": 200, "drain_header": False, "leave": False}
        self.name = name
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.sockets = set()
        self.active = 0
        self.ending = False

    def command(self, change):
        self.settings.update(change)
        if change.get("close_websockets"):
            self.close_websockets()

    def close_websockets(self):
        for writer in self.sockets:
            writer.write(websocket.frame(websocket.CLOSE, websocket.GOING_AWAY))

    async def connection(self, reader, writer):
        try:
            while not self.ending and await self.request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        target = urlsplit(head[0].split(" ")[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        await reader.readexactly(int(fields.get("content-length", 0)))
        if target.path == PROBE:
            return await self.probed(writer, fields.get("x-tidegate-check", ""))
        os.write(self.log, b"%.6f %s\n" % (time.monotonic(), target.path.rpartition("/")[2].encode()))
        self.active += 1
        try:
            if "sec-websocket-key" in fields:
                return await self.echo(reader, writer, fields)
            wanted = parse_qs(target.query).get("delay")
            await asyncio.sleep(float(wanted[0]) if wanted else self.settings["delay"])
            return await self.answer(writer, self.settings["status"])
        finally:
            self.active -= 1

    async def probed(self, writer, told):
        """With `leave`, it asks by 404 to be drained, and goes when the probe tells that nothing is in flight."""
        await self.answer(writer, 404 if self.settings["leave"] else self.settings["probe_status"])
        if self.settings["leave"] and "state=draining" in told:
            self.close_websockets()
            if told.endswith("inflight=0"):
                os._exit(0)
        return True

    async def answer(self, writer, status):
        drain = "x-tidegate-drain: 1\r\n" if self.settings["drain_header"] else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\nx-backend: {self.name}\r\n{drain}content-length: 3\r\n\r\nok\n".encode()
        )
        await writer.drain()
        return True

    async def echo(self, reader, writer, fields):
        writer.write(websocket.accepted(fields["sec-websocket-key"]))
        self.sockets.add(writer)
        try:
            while True:
                kind, payload = await websocket.read(reader)
                if kind == websocket.CLOSE:
                    return False
                writer.write(websocket.frame(kind, payload))
                await writer.drain()
        finally:
            self.sockets.discard(writer)

    async def finish(self, server):
        self.ending = True
        server.close()
        self.close_websockets()
        while self.active:
            await asyncio.sleep(0.01)
        os._exit(0)


async def main():
    parser = argparse.ArgumentParser()
    for option in ("port", "name", "log", "settings"):
        parser.add_argument(f"--{option}", required=True)
    given = parser.parse_args()
    backend = Backend(given.name, given.log)
    backend.command(json.loads(given.settings))
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    server = await asyncio.start_server(backend.connection, "127.0.0.1", int(given.port), backlog=1024)
    loop.add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(backend.finish(server)))
    while line := await commands.readline():
        backend.command(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())

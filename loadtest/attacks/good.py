"""Good clients: keep-alive connections, a fixed rate whatever the answers do. `good PORT RATE SECONDS` prints JSON."""

import asyncio
import json
import sys
import time
from collections import deque

CONNECTIONS = 64
REQUEST = b"GET / HTTP/1.1\r\nhost: good.example\r\n\r\n"


class Client(asyncio.Protocol):
    """One connection; a request that breaks off has failed, and the connection is made anew."""

    def __init__(self, load):
        self.load, self.due, self.transport, self.seen = load, None, None, b""

    def connection_made(self, transport):
        self.transport = transport
        self.load.is_free(self)

    def send(self, due):
        self.due, self.seen = due, b""
        self.transport.write(REQUEST)

    def data_received(self, data):
        self.seen += data
        head = self.seen.find(b"\r\n\r\n")
        if head < 0:
            return
        length = next(
            (int(f.split(b":")[1]) for f in self.seen[:head].lower().split(b"\r\n") if f.startswith(b"content-length:")), 0
        )
        if len(self.seen) >= head + 4 + length and self.due is not None:
            self.load.ended(self.seen.startswith(b"HTTP/1.1 200"), time.monotonic() - self.due)
            self.due = None
            self.load.is_free(self)

    def connection_lost(self, _):
        if self.due is not None:
            self.load.ended(False, time.monotonic() - self.due)
            self.due = None
        self.load.lost(self)


class Load:
    def __init__(self, port):
        self.port, self.free, self.waiting = port, deque(), deque()
        self.latencies, self.failed, self.over = [], 0, False

    def is_free(self, client):
        if self.waiting:
            client.send(self.waiting.popleft())
        else:
            self.free.append(client)

    def lost(self, client):
        if client in self.free:
            self.free.remove(client)
        if not self.over:
            asyncio.ensure_future(self.connect())

    def ended(self, ok, latency):
        self.latencies.append(latency)
        self.failed += not ok

    async def connect(self):
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
        except OSError:
            await asyncio.sleep(0.1)
            if not self.over:
                asyncio.ensure_future(self.connect())

    async def run(self, rate, seconds):
        await asyncio.gather(*(self.connect() for _ in range(CONNECTIONS)))
        begin = time.monotonic()
        for n in range(rate * seconds):
            due = begin + n / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            elif n % 16 == 0:
                await asyncio.sleep(0)
            if self.free:
                self.free.popleft().send(due)
            else:
                self.waiting.append(due)
        await asyncio.sleep(2)
        self.over = True
        unanswered = rate * seconds - len(self.latencies)
        self.latencies.sort()
        return {
            "requests": rate * seconds,
            "failed": self.failed + unanswered,
            "p50": self.latencies[len(self.latencies) // 2],
            "p99": self.latencies[len(self.latencies) * 99 // 100],
        }


if __name__ == "__main__":
    port, rate, seconds = map(int, sys.argv[1:])
    print(json.dumps(asyncio.run(Load(port).run(rate, seconds))))

"""An HTTP/1.1 client in open loop: requests are sent at a fixed rate whatever becomes of those before, as the users of
a service do, and latency counts from when a request should have been sent. So a stall is seen by all it would have hit.
"""

import asyncio
import time
from typing import NamedTuple

# Not reused after so long, as Tidegate closes what is idle for 60 s.
IDLE = 30.0


class Result(NamedTuple):
    id: str
    # When it was to be sent.
    due: float
    took: float
    # 0: no response.
    status: int
    # The one whose response it is; empty for Tidegate's own.
    backend: str
    error: str


class Client:
    """At most `connections` requests at once, others wait for one of them; `timeout` counts from `due`, too."""

    def __init__(self, port, connections=200, timeout=20.0):
        self.port, self.timeout = port, timeout
        self.places = asyncio.Semaphore(connections)
        self.idle = []
        self.results = []
        self.sent = 0

    async def run(self, rate, seconds, make=lambda number: ("GET", f"/r/{number}")):
        """Sends for so long, then waits for the last response. `make` gives method and target; the id ends its path."""
        began, tasks = time.monotonic(), set()
        for i in range(int(rate * seconds)):
            due = began + i / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self.sent += 1
            task = asyncio.create_task(self.one(due, *make(self.sent)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.wait(set(tasks))
        return self.results

    async def one(self, due, method, target):
        status, backend, error = 0, "", ""
        loop_time = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(loop_time() + due + self.timeout - time.monotonic()), self.places:
                status, backend = await self.exchange(method, target)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        name = target.partition("?")[0].rpartition("/")[2]
        self.results.append(Result(name, due, time.monotonic() - due, status, backend, error))

    async def exchange(self, method, target):
        reader, writer = await self.connection()
        try:
            body = b"x" * 100 if method == "POST" else b""
            head = f"{method} {target} HTTP/1.1\r\nhost: resilience\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(field(head, b"content-length") or 0))
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self.idle.append((time.monotonic(), reader, writer))
        return int(head[9:12]), (field(head, b"x-backend") or b"").decode()

    async def connection(self):
        while self.idle:
            since, reader, writer = self.idle.pop()
            if time.monotonic() - since < IDLE and not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)


def field(head, name):
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0] if found else None


def failed(results):
    return [one for one in results if not 200 <= one.status < 300]


def counts(results):
    """How often each kind of answer came, as text."""
    kinds = {}
    for one in results:
        kind = str(one.status) if one.status else one.error.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))

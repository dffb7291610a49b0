"""Slow clients from many loopback addresses, each opened anew when it is closed. `slow PORT TLS_PORT COUNT SECONDS KINDS`
prints `open` on a line when all are, and JSON at the end: by kind, how long those lived that were closed."""

import asyncio
import json
import sys
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
FIRST = {"nothing": b"", "dribble": b"GET / HTTP/1.1\r\nhost: a\r\nx: ", "tls": HELLO, "preface": PREFACE}


class Slow(asyncio.Protocol):
    def __init__(self, kind, attack):
        self.kind, self.attack, self.began, self.transport = kind, attack, None, None

    def connection_made(self, transport):
        self.transport, self.began = transport, time.monotonic()
        if FIRST[self.kind]:
            transport.write(FIRST[self.kind])

    def connection_lost(self, _):
        self.attack.closed(self)


class Attack:
    def __init__(self, ports, seconds):
        self.ports, self.end = ports, time.monotonic() + seconds
        self.open, self.lived, self.refused = set(), {kind: [] for kind in FIRST}, 0

    def closed(self, slow):
        lived = time.monotonic() - slow.began
        self.open.discard(slow)
        self.lived[slow.kind].append(lived)
        if time.monotonic() < self.end:
            asyncio.ensure_future(self.again(slow.kind, len(self.lived[slow.kind])))

    async def again(self, kind, n):
        # A server that refuses a kind at once is not flooded with it.
        await asyncio.sleep(1)
        await self.connect(kind, n)

    async def connect(self, kind, n):
        source = f"127.0.{1 + n // 250 % 250}.{1 + n % 250}"
        port = self.ports["tls" if kind == "tls" else "plain"]
        loop = asyncio.get_running_loop()
        try:
            make = loop.create_connection(lambda: Slow(kind, self), "127.0.0.1", port, local_addr=(source, 0))
            _, slow = await asyncio.wait_for(make, 10)
            self.open.add(slow)
        except (OSError, asyncio.TimeoutError):
            self.refused += 1

    async def dribble(self):
        """A byte a second from each, not from all at the same moment."""
        slices = 20
        while True:
            for part in range(slices):
                await asyncio.sleep(1 / slices)
                for slow in [one for one in self.open if one.kind == "dribble" and id(one) // 64 % slices == part]:
                    slow.transport.write(b"y")

    async def run(self, count, kinds):
        dribble = asyncio.ensure_future(self.dribble())
        # 1,000 a second: so that they don't all end at the same moment either.
        for begin in range(0, count, 50):
            batch = range(begin, min(begin + 50, count))
            await asyncio.gather(*(self.connect(kinds[n % len(kinds)], n) for n in batch))
            await asyncio.sleep(0.05)
        print("open", flush=True)
        await asyncio.sleep(max(0, self.end - time.monotonic()))
        dribble.cancel()
        now = time.monotonic()
        result = {
            kind: {
                "closed": len(lived),
                "longest": max(lived, default=0),
                "still_open": max((now - one.began for one in self.open if one.kind == kind), default=0),
            }
            for kind, lived in self.lived.items()
            if kind in kinds
        }
        return {"kinds": result, "refused": self.refused, "open": len(self.open)}


if __name__ == "__main__":
    port, tls_port, count, seconds = map(int, sys.argv[1:5])
    attack = Attack({"plain": port, "tls": tls_port}, seconds)
    print(json.dumps(asyncio.run(attack.run(count, sys.argv[5].split(",")))))

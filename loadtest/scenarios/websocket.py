"""As much of RFC 6455 as an echo needs: short frames, both sides."""

import asyncio
import base64
import hashlib
import os

TEXT, CLOSE = 1, 8
GOING_AWAY = (1001).to_bytes(2, "big")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(key):
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-accept: {accept}\r\n\r\n"
    ).encode()


def frame(kind, payload, masked=False):
    """Payloads under 126 bytes."""
    mask = os.urandom(4) if masked else b""
    head = bytes([0x80 | kind, (0x80 if masked else 0) | len(payload)])
    return head + mask + (apply(mask, payload) if masked else payload)


def apply(mask, payload):
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


async def read(reader):
    kind, length = await reader.readexactly(2)
    mask = await reader.readexactly(4) if length & 0x80 else b"\0\0\0\0"
    return kind & 0x0F, apply(mask, await reader.readexactly(length & 0x7F))


class Clients:
    """`number` clients that each send a message `rate` times a second and want it back; one that the backend tells to
    go away does so and connects again, as web applications do. Every other end is a failure."""

    def __init__(self, port, number, rate=4.0):
        self.port, self.number, self.pause = port, number, 1.0 / rate
        self.echoed, self.moved, self.failures = 0, 0, []

    async def run(self, seconds):
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await asyncio.gather(*(self.client(i, end) for i in range(self.number)))

    async def client(self, i, end):
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            try:
                async with asyncio.timeout(max(0.1, end - loop.time()) + 10):
                    await self.session(i, end)
            except (OSError, EOFError, TimeoutError, ValueError) as problem:
                self.failures.append(f"{type(problem).__name__}: {problem}")
                await asyncio.sleep(0.5)

    async def session(self, i, end):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(
                f"GET /ws/{i} HTTP/1.1\r\nhost: resilience\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                raise ValueError(head.partition(b"\r\n")[0].decode())
            await self.talk(reader, writer, end)
        finally:
            writer.close()

    async def talk(self, reader, writer, end):
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            sent = f"{loop.time():.6f}".encode()
            writer.write(frame(TEXT, sent, masked=True))
            kind, payload = await read(reader)
            if kind == CLOSE and payload == GOING_AWAY:
                writer.write(frame(CLOSE, payload, masked=True))
                self.moved += 1
                return
            if (kind, payload) != (TEXT, sent):
                raise ValueError(f"not an echo: {kind} {payload!r}")
            self.echoed += 1
            await asyncio.sleep(self.pause)
        writer.write(frame(CLOSE, GOING_AWAY, masked=True))

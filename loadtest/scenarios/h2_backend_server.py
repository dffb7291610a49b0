"""A sample backend that speaks HTTP/2 in clear text; run like `backend_server`, and ends with standard input, too.
It answers every stream with an empty 200 after `delay` seconds."""

import argparse
import asyncio
import json
import os
import sys
import time

from . import h2


async def connection(reader, writer, log, delay):
    try:
        await reader.readexactly(len(h2.PREFACE))
        writer.write(h2.frame(h2.SETTINGS, 0, 0))
        while True:
            kind, flags, stream, payload = await h2.read(reader)
            h2.housekeeping(writer, kind, flags, payload)
            if kind == h2.HEADERS:
                os.write(log, b"%.6f %d\n" % (time.monotonic(), stream))
                answer = h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, stream, bytes([h2.STATUS_200]))
                asyncio.get_running_loop().call_later(delay, writer.write, answer)
    except (OSError, EOFError):
        writer.close()


async def main():
    parser = argparse.ArgumentParser()
    for option in ("port", "name", "log", "settings"):
        parser.add_argument(f"--{option}", required=True)
    given = parser.parse_args()
    log = os.open(given.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    delay = json.loads(given.settings)["delay"]
    await asyncio.start_server(lambda r, w: connection(r, w, log, delay), "127.0.0.1", int(given.port))
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

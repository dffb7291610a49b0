"""One HTTP/2 client connection with 100 concurrent streams over four HTTP/2 backends: streams are balanced, not
connections."""

import asyncio

from .backend import start_all
from .h2 import Connection
from .tidegate import Tidegate

STREAMS, ROUNDS = 100, 5


async def run(report):
    backends = await start_all("abcd", server="h2_backend_server", delay=1.0)
    pool = {"backends": [one.address for one in backends], "upstream": {"protocol": "http2"}}
    tidegate = await Tidegate({"web": pool}).start()
    client = await Connection.open(tidegate.port)
    seen, spread = [0] * len(backends), []
    for _ in range(ROUNDS):
        statuses = await asyncio.gather(*(client.get(f"/r/{i}") for i in range(STREAMS)))
        if set(statuses) != {200}:
            return report.claim("all streams are answered with 200", "yes", f"{statuses}", False)
        total = [len(one.arrivals()) for one in backends]
        spread.append([now - before for now, before in zip(total, seen)])
        seen = total
    shares = [count for one in spread for count in one]
    report.claim(
        f"streams on each of 4 backends, of {STREAMS} concurrent ones on one connection, {ROUNDS} rounds",
        "22 to 28",
        f"{min(shares)} to {max(shares)}",
        all(22 <= count <= 28 for count in shares),
    )

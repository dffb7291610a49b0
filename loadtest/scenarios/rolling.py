"""Rolling replacement of four backends under load, each taken out in another of the ways there are: nobody notices.

The load: HTTP/1.1 with keep-alive, every tenth request a POST, which is never sent twice; 2 s long requests; HTTP/2;
WebSockets. A backend ends at the moment when Tidegate says that it has nothing in flight, without looking itself."""

import asyncio
import signal
import time

from .backend import start_all
from .client import Client, counts, failed
from .h2 import Connection
from .report import progress, quantile
from .tidegate import Tidegate
from .websocket import Clients

QUICK, LONG, HTTP2, SOCKETS = 425, 25, 50, 20
SECONDS = 120
# A little longer than a slow start.
PAUSE = 11
# Traffic that goes well stands for probes for up to 30 s, and only a probe sees a 404 on it.
PATIENCE = 60


async def run(report):
    old = await start_all(["a", "b", "c", "d"], delay=0.02)
    pool = {"backends": [one.address for one in old], "health_check": {"drain_on_404": True}}
    tidegate = await Tidegate({"web": pool}).start()
    quick, long, h2 = Client(tidegate.port), Client(tidegate.port), await Connection.open(tidegate.port)
    sockets = Clients(tidegate.port, SOCKETS)
    began = time.monotonic()
    work = asyncio.gather(
        quick.run(QUICK, SECONDS, lambda i: ("GET" if i % 10 else "POST", f"/r/q{i}")),
        long.run(LONG, SECONDS, lambda i: ("GET" if i % 10 else "POST", f"/r/l{i}?delay=2")),
        h2.run(HTTP2, SECONDS),
        sockets.run(SECONDS),
    )
    await asyncio.sleep(5)
    for one, way in zip(old, (by_header, by_probe, by_weight, by_removal)):
        await replace(tidegate, one, way)
        await asyncio.sleep(PAUSE)
    took = time.monotonic() - began
    if took > SECONDS:
        raise RuntimeError(f"replaced only after {took:.0f} s, the load ended before")
    quick, long, h2, _ = await work
    tell(report, {"HTTP/1.1 keep-alive": quick, "2 s long": long, "HTTP/2": h2}, sockets)


async def replace(tidegate, old, way):
    progress(f"{old.name} goes {way.__name__}")
    began = time.monotonic()
    await way(tidegate, old)
    progress(f"{old.name} is gone after {time.monotonic() - began:.1f} s")
    [new] = await start_all([old.name + "2"], delay=0.02)
    backends = tidegate.pools["web"]["backends"]
    backends[:] = [one for one in backends if of(one) != old.address] + [new.address]
    await tidegate.reload()


def of(entry):
    return entry["address"] if isinstance(entry, dict) else entry


async def by_header(tidegate, old):
    """It says `X-Tidegate-Drain: 1` in its responses, and tells its WebSockets to go."""
    old.set(drain_header=True)
    await drained(tidegate, old)


async def by_probe(tidegate, old):
    """It answers its probes with 404, and ends by itself when a probe says that nothing is in flight."""
    old.set(leave=True)
    async with asyncio.timeout(PATIENCE):
        await old.ended()


async def by_weight(tidegate, old):
    """The operator gives it the weight 0."""
    backends = tidegate.pools["web"]["backends"]
    backends[backends.index(old.address)] = {"address": old.address, "weight": 0}
    await tidegate.reload()
    await drained(tidegate, old)


async def by_removal(tidegate, old):
    """The operator removes it, and it ends as servers do on SIGTERM: after what it has in flight."""
    tidegate.pools["web"]["backends"].remove(old.address)
    await tidegate.reload()
    old.signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await old.ended()


async def drained(tidegate, old):
    async with asyncio.timeout(PATIENCE):
        while (await tidegate.backend(old.address))["state"] != "draining":
            await asyncio.sleep(0.05)
        old.set(close_websockets=True)
        while (await tidegate.backend(old.address))["in_flight"]:
            await asyncio.sleep(0.05)
    old.kill()


def tell(report, kinds, sockets):
    rate = QUICK + LONG + HTTP2
    for name, results in kinds.items():
        bad = failed(results)
        report.claim(
            f"4 backends replaced at {rate} requests/s: failed, {name}",
            "0",
            f"{len(bad)} of {len(results)}" + (f" ({counts(bad)})" if bad else ""),
            not bad,
        )
    report.claim(
        "failed, WebSockets",
        "0",
        f"{len(sockets.failures)} ({SOCKETS} clients, {sockets.echoed} echoes, {sockets.moved} moved)"
        + "".join(f"; {why}" for why in sockets.failures[:3]),
        not sockets.failures and sockets.moved > 0,
    )
    p99 = quantile([one.took for one in kinds["HTTP/1.1 keep-alive"]], 0.99)
    report.figure("p99 of HTTP/1.1 keep-alive", f"{p99 * 1e3:.0f} ms")

"""How long a dead backend keeps getting traffic: by probes alone, with the defaults and no traffic at all, both for
one that is gone (SIGKILL) and one that hangs (SIGSTOP); and by traffic alone, without probes."""

import asyncio
import signal

from .backend import Backend, start_all
from .client import Client, failed
from .report import progress
from .tidegate import Tidegate

# Victims of each kind, at different times of the probes' interval.
VICTIMS, APART = 4, 1.3
# With few requests at once, least_request can do without a backend of which it has reason to think badly.
RATES = (50, 200)


async def run(report):
    await by_probes(report)
    for rate in RATES:
        await by_traffic(report, rate)


async def by_probes(report):
    good = await Backend("good").start()
    kinds = [signal.SIGKILL, signal.SIGSTOP] * VICTIMS
    victims = await start_all([f"victim-{i}" for i in range(len(kinds))])
    # A pool each, as one pool does not do without more than half of its backends.
    pools = {one.name: {"backends": [good.address, one.address], "health_check": {}} for one in victims}
    tidegate = await Tidegate(pools).start()
    await asyncio.sleep(6)
    times = {signal.SIGKILL: [], signal.SIGSTOP: []}

    async def one(victim, kind, wait):
        await asyncio.sleep(wait)
        since = victim.signal(kind)
        out = None
        while out is None:
            await asyncio.sleep(0.5)
            out, why = tidegate.left_rotation(victim.address, since)
        progress(f"{kind.name}: out after {out - since:.2f} s ({why})")
        times[kind].append(out - since)

    async with asyncio.timeout(60):
        await asyncio.gather(*(one(victim, kind, i * APART) for i, (victim, kind) in enumerate(zip(victims, kinds))))
    for kind, name in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "hanging")):
        report.at_most(f"a {name} backend is out by probes alone, worst of {VICTIMS}", 15, max(times[kind]), "s")


async def by_traffic(report, rate):
    backends = await start_all([f"{name}-{rate}" for name in "abc"], delay=0.01)
    tidegate = await Tidegate({"web": {"backends": [one.address for one in backends]}}).start()
    client = Client(tidegate.port)
    load = asyncio.create_task(client.run(rate, 10))
    await asyncio.sleep(5)
    since = backends[0].kill()
    results = await load
    out, why = tidegate.left_rotation(backends[0].address, since)
    status = await tidegate.backend(backends[0].address)
    report.claim(
        f"a killed backend is out by traffic alone, at {rate} requests/s on 3 backends",
        "<= 1 s",
        f"{out - since:.3f} s ({why})" if out else f"never, after {status['bad']} failed attempts",
        out is not None and out - since <= 1,
    )
    bad = f"{len(failed(results))} of {len(results)}"
    report.figure("requests that failed, failed attempts on it", f"{bad}, {status['bad']}")

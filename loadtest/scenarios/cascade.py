"""One of four backends goes from 30 ms to 30 s. Its probes stay quick, so that only traffic can tell. Beside it the
control: the same load on round robin without protection."""

import asyncio
import time

from . import process
from .backend import start_all
from .client import Client, counts, failed
from .report import percent, progress, quantile
from .tidegate import Tidegate

RATE, BEFORE, SECONDS, SLOW = 200, 15, 120, 30.0
# What a service in front holds open at most, the same in both runs.
CONNECTIONS = 200
UNPROTECTED = {
    "policy": "round_robin",
    "outlier_detection": {"mode": "off"},
    "retry": {"attempts": 0},
    "timeouts": {"first_byte": "60s", "read": "60s", "total": "120s"},
}


async def run(report):
    protected = await measure("defaults", {"health_check": {}})
    process.end_all()
    control = await measure("control", UNPROTECTED)
    report.at_most("share of the slow one, from 2 s after it became slow", 5, protected["share"], "%")
    report.at_most("p99 of requests never sent to it", 100, protected["p99"], "ms")
    report.at_most("client errors", 0.5, protected["errors"], "%")
    out, why = protected["out"]
    report.claim("it is ejected", "<= 60 s", f"{out:.1f} s ({why})" if out else "never", out is not None and out <= 60)
    for name, run in (("defaults", protected), ("control", control)):
        report.figure(
            f"{name}: errors, answered within 1 s, p50, p99, slow one's share",
            f"{run['errors']:.1f} %, {run['in_time']:.1f} %, {run['p50']:.0f} ms, {run['p99_all']:.0f} ms,"
            f" {run['share']:.2f} % ({run['counts']})",
        )
    report.at_least("answered within 1 s", 99, protected["in_time"], "%")
    report.at_most("the control collapses: answered within 1 s", 25, control["in_time"], "%")


async def measure(name, settings):
    backends = await start_all([f"{one}-{name}" for one in "abcd"], delay=0.03)
    slow = backends[0]
    tidegate = await Tidegate({"web": {"backends": [one.address for one in backends], **settings}}).start()
    client = Client(tidegate.port, CONNECTIONS)
    telling = asyncio.create_task(tell(client, name))
    load = asyncio.create_task(client.run(RATE, BEFORE + SECONDS))
    await asyncio.sleep(BEFORE)
    slow.set(delay=SLOW)
    since = time.monotonic()
    results = [one for one in await load if one.due >= since]
    telling.cancel()
    late = [[at for at, _ in one.arrivals() if at >= since + 2] for one in backends]
    hit = {name for at, name in slow.arrivals() if at >= since}
    out, why = tidegate.left_rotation(slow.address, since)
    took = [one.took * 1e3 for one in results]
    return {
        "share": percent(len(late[0]), sum(map(len, late))),
        "p99": quantile([one.took * 1e3 for one in results if one.id not in hit], 0.99),
        "p50": quantile(took, 0.5),
        "p99_all": quantile(took, 0.99),
        "errors": percent(len(failed(results)), len(results)),
        "in_time": percent(sum(one.status == 200 and one.took <= 1 for one in results), len(results)),
        "counts": counts(results),
        "out": (out and out - since, why),
    }


async def tell(client, name):
    seen = 0
    while True:
        await asyncio.sleep(10)
        recent, seen = client.results[seen:], len(client.results)
        p99 = quantile([one.took for one in recent], 0.99)
        progress(f"{name}: last 10 s {counts(recent) or 'no answer'}, p99 {p99 * 1e3:.0f} ms")

"""Two groups of three backends; the first dies as a whole, comes back, and then bounces. Traffic leaves at once, and
returns late, slowly, and only to a group that stays."""

import asyncio
import time

from .backend import start_all
from .client import Client, counts, failed
from .report import percent, progress
from .tidegate import Tidegate

RATE = 300
BEFORE, DEAD, BOUNCE, BOUNCES = 20, 30, 20, 3
# failback_delay and failback_ramp.
DELAY, RAMP = 60, 60
# Probes of a dead backend get as rare as this (down_interval, with jitter), then two must pass, then slow start.
NOTICED = 33 + 3 + 10
BIN = 5


async def run(report):
    first, second = await start_all(["a1", "a2", "a3"], delay=0.02), await start_all(["b1", "b2", "b3"], delay=0.02)
    backends = [one.address for one in first]
    backends += [{"address": one.address, "priority": 1} for one in second]
    tidegate = await Tidegate({"web": {"backends": backends, "health_check": {}}}).start()
    client = Client(tidegate.port)
    seconds = BEFORE + DEAD + NOTICED + DELAY + RAMP + 30 + BOUNCES * 2 * BOUNCE
    load = asyncio.create_task(client.run(RATE, seconds))
    marks = await script(first)
    results = await load
    arrivals = sorted(at for one in first for at, _ in one.arrivals())
    death(report, results, arrivals, marks["killed"])
    failback(report, results, arrivals, marks)
    bouncing(report, results, arrivals, marks)


async def script(group):
    """Kills and starts the group; returns when what happened."""
    await asyncio.sleep(BEFORE)
    marks = {"killed": kill(group)}
    await asyncio.sleep(DEAD)
    await start(group)
    marks["back"] = time.monotonic()
    await asyncio.sleep(NOTICED + DELAY + RAMP + 10)
    marks["bounce"] = time.monotonic()
    for _ in range(BOUNCES):
        kill(group)
        await asyncio.sleep(BOUNCE)
        await start(group)
        await asyncio.sleep(BOUNCE)
    return marks


def kill(group):
    progress("the first group dies")
    # All at once, then waited for.
    at = max(one.signal(9) for one in group)
    for one in group:
        one.child.wait()
    return at


async def start(group):
    progress("the first group is back")
    await asyncio.gather(*(one.start() for one in group))


def death(report, results, arrivals, killed):
    minute = [one for one in results if killed - BEFORE <= one.due < killed + DEAD]
    bad = failed(minute)
    good = percent(len(minute) - len(bad), len(minute))
    what = f"SIGKILL of a whole group at {RATE} requests/s"
    report.at_least(f"{what}: requests that succeed, {BEFORE} s before to {DEAD} s after", 99.9, good, "%")
    report.figure("answers in that time", counts(minute))
    ends = [one.due + one.took - killed for one in bad]
    report.at_most("time from the kill to the last error", 2, max(ends, default=0), "s")
    late = [at for at in arrivals if killed + 5 <= at < killed + DEAD]
    others = [one for one in minute if one.due >= killed + 5 and one.backend.startswith("b")]
    everyone = [one for one in minute if one.due >= killed + 5]
    share = percent(len(others), len(everyone))
    report.claim("on the other group from 5 s on", "100 %", f"{share:.2f} %", share == 100 and not late)


def failback(report, results, arrivals, marks):
    back, end = marks["back"], marks["bounce"]
    first = next((at for at in arrivals if at > back), end)
    report.at_least("no traffic to the group that is back for", 60, first - back, "s")
    shares, at = [], first
    while at + BIN < end:
        mine = sum(at <= one < at + BIN for one in arrivals)
        shares.append(percent(mine, RATE * BIN))
        at += BIN
    # Three standard deviations of a share of 1500 requests are at most 4 points.
    falls = max((max(shares[:i]) - share for i, share in enumerate(shares) if i), default=0)
    steps = max((b - a for a, b in zip(shares, shares[1:])), default=100)
    report.at_most(f"then a ramp: largest fall of its share from one {BIN} s to the next", 5, falls, "points")
    report.at_most(f"largest rise in {BIN} s", 30, max(steps, shares[0]), "points")
    report.at_least("share it ends with", 95, shares[-1], "%")
    report.figure(f"its share in steps of {BIN} s, %", " ".join(f"{share:.0f}" for share in shares))
    # Those in flight when it dies again count there.
    bad = failed([one for one in results if back <= one.due and one.due + one.took < end])
    measured = f"{len(bad)} ({counts(bad)})" if bad else "0"
    report.claim("requests that fail while traffic returns", "0", measured, not bad)


def bouncing(report, results, arrivals, marks):
    begin = marks["bounce"]
    late = [at for at in arrivals if at >= begin + 5]
    what = f"the group bounces every {BOUNCE} s"
    report.claim(f"{what}: requests to it from 5 s on", "0", f"{len(late)}", not late)
    during = [one for one in results if one.due + one.took >= begin]
    good = percent(len(during) - len(failed(during)), len(during))
    report.at_least(f"{what}: requests that succeed", 99.9, good, "%")

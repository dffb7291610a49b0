"""All backends fail, probes included: taking them out would help nobody, so clients get what backends say, and retries
do not multiply the load. Once with 500, which is not retried by default, and once with 503, which is."""

import time

from .backend import start_all
from .client import Client, counts
from .report import percent
from .tidegate import Tidegate

RATE, SECONDS = 200, 40
# The budget of retries looks so far back; before that, good requests still count in it.
WINDOW = 10


async def run(report):
    for status in (500, 503):
        backends = await start_all([f"{name}-{status}" for name in "abcd"], delay=0.01)
        pool = {"backends": [one.address for one in backends], "health_check": {}}
        tidegate = await Tidegate({"web": pool}).start()
        client = Client(tidegate.port)
        await client.run(RATE, 5)
        client.results.clear()
        steady = time.monotonic() + WINDOW
        for one in backends:
            one.set(status=status, probe_status=status)
        results = await client.run(RATE, SECONDS)
        arrivals = sum(at >= steady for one in backends for at, _ in one.arrivals())
        requests = sum(one.due >= steady for one in results)
        theirs = sum(one.status == status and one.backend != "" for one in results)
        report.claim(
            f"all return {status}: clients see the backends' {status}, none of Tidegate's own",
            "100 %",
            f"{percent(theirs, len(results)):.2f} % ({counts(results)})",
            theirs == len(results),
        )
        rate = round(arrivals / requests, 2)
        report.at_most(f"all return {status}: upstream rate", 1.2, rate, "times the client rate")

"""Figures as a Markdown table. Everything in it comes from the JSON, so that it can be made again without measuring."""

import statistics

from .scenarios import COMPARED, GROWTH


def median(rounds, key):
    return statistics.median(one[key] for one in rounds)


def spread(rounds, digits=1):
    """Median, smallest, largest."""
    all_cpu = [one["cpu_us"] for one in rounds]
    return f"{statistics.median(all_cpu):.{digits}f} ({min(all_cpu):.{digits}f} to {max(all_cpu):.{digits}f})"


def markdown(results):
    text = [
        f"# {results['title']}",
        "",
        f"{results['machine']}, {results['date']}. {results['rounds']} rounds of {results['seconds']} s, interleaved.",
        "One worker thread on one core; load and origins on another. CPU is user + system time of the proxy's processes by the",
        "request: median (smallest to largest round). Ratios are Tidegate's median by the other's: under 1 is less CPU.",
        "",
        "| | version |",
        "|---|---|",
        *[f"| {name} | {version} |" for name, version in results["versions"].items()],
    ]
    for scenario in COMPARED:
        if rows := results["compared"].get(scenario.name):
            text += ["", f"## {scenario.about} (`{scenario.name}`)", "", *compared(rows)]
    for tls in ("plain", "TLS"):
        if rows := results["idle"].get(tls):
            text += ["", f"## Memory of idle connections, {tls}", "", *idle(rows)]
    for name, grown in GROWTH.items():
        if rows := results["growth"].get(name):
            text += ["", f"## Tidegate by {grown.about} (`{name}`)", "", *growth(name, rows)]
    if rows := results.get("latency"):
        text += ["", "## Latency added over 100 backends, at a steady rate, all cores shared with load and origins", "", *latency(rows)]
    return "\n".join(text) + "\n"


def compared(rows):
    yield "| | CPU, µs a request | Tidegate by it | requests/s | p50, ms | p99, ms | memory, MiB |"
    yield "|---|---|---|---|---|---|---|"
    own = rows.get("Tidegate")
    for shown, rounds in rows.items():
        cpu = median(rounds, "cpu_us")
        ratio = f"{median(own, 'cpu_us') / cpu:.2f}" if own and cpu else ""
        yield (
            f"| {shown} | {spread(rounds)} | {ratio} | {median(rounds, 'rate'):.0f} | {median(rounds, 'p50_us') / 1000:.2f}"
            f" | {median(rounds, 'p99_us') / 1000:.2f} | {median(rounds, 'memory_kib') / 1024:.0f} |"
        )


def idle(rows):
    yield "| | KiB a connection (slope from 2,000 to 6,000) | at start, MiB | with 6,000, MiB | with them, after a burst, MiB |"
    yield "|---|---|---|---|---|"
    for shown, one in rows.items():
        sizes = " | ".join(f"{one[key] / 1024:.0f}" for key in ("start_kib", "many_kib", "after_burst_kib"))
        yield f"| {shown} | {one['kib_per_connection']:.2f} | {sizes} |"


def growth(name, rows):
    yield f"| {name} | CPU, µs a request | by the first | p99, ms | memory, MiB |"
    yield "|---|---|---|---|---|"
    first = median(next(iter(rows.values())), "cpu_us")
    for shown, rounds in rows.items():
        yield (
            f"| {shown} | {spread(rounds)} | {median(rounds, 'cpu_us') / first:.2f} | {median(rounds, 'p99_us') / 1000:.2f}"
            f" | {median(rounds, 'memory_kib') / 1024:.0f} |"
        )


def latency(rows):
    yield "| requests/s asked for | got, direct / through | p50, direct / through, ms | p99, direct / through, ms | added, p50 / p99, ms |"
    yield "|---|---|---|---|---|"
    for row in rows:
        direct, through = row["direct"], row["through Tidegate"]
        pair = lambda key, by, digits: f"{direct[key] / by:.{digits}f} / {through[key] / by:.{digits}f}"
        added = [(through[key] - direct[key]) / 1000 for key in ("p50_us", "p99_us")]
        yield (
            f"| {row['asked_rate']} | {pair('rate', 1, 0)} | {pair('p50_us', 1000, 2)} | {pair('p99_us', 1000, 2)}"
            f" | {added[0]:.2f} / {added[1]:.2f} |"
        )

"""CPU of each request as bars, in SVG: a row for each scenario, scaled to its largest, the smallest and largest round as a line."""

import statistics
from xml.sax.saxutils import escape

from .scenarios import COMPARED

COLOURS = {
    "Tidegate": "#0b6e99",
    "nginx": "#4d9f5c",
    "HAProxy": "#7a5fa8",
    "Envoy": "#c2571a",
    "Caddy": "#8c8c8c",
    "Traefik": "#b8a13a",
    "stock Pingora": "#a33b4b",
}
WIDTH, LEFT, RIGHT = 860, 130, 90
BAR, GAP, HEAD = 13, 3, 30


def svg(results):
    parts, y = [], 24
    parts.append(text(0, y, "CPU of the proxy by the request, µs: median, line from smallest to largest round", 14, "bold"))
    y += 14
    for scenario in COMPARED:
        rows = results["compared"].get(scenario.name)
        if not rows:
            continue
        y += HEAD
        parts.append(text(0, y - 8, scenario.about, 13, "bold"))
        most = max(one["cpu_us"] for rounds in rows.values() for one in rounds) or 1
        for shown, rounds in rows.items():
            parts.append(bar(shown, [one["cpu_us"] for one in rounds], most, y))
            y += BAR + GAP
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {WIDTH + 20} {height}" width="{WIDTH + 20}" '
        f'font-family="system-ui, sans-serif"><rect x="-10" width="{WIDTH + 20}" height="{height}" fill="#fff"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )


def bar(shown, cpu, most, y):
    scale = (WIDTH - LEFT - RIGHT) / most
    median, middle = statistics.median(cpu), y + BAR / 2
    low, high = LEFT + min(cpu) * scale, LEFT + max(cpu) * scale
    return "".join(
        [
            text(LEFT - 8, y + BAR - 2, shown, 11, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{COLOURS.get(shown, "#555")}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#111"/>',
            text(max(high, LEFT + median * scale) + 6, y + BAR - 2, f"{median:.1f}", 11),
        ]
    )


def text(x, y, words, size, weight="normal", anchor="start"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="#111">{escape(words)}</text>'
    )

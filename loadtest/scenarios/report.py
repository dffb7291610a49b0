"""What was claimed, what was measured, and whether it holds."""

import sys
import time

BEGAN = time.monotonic()


def progress(text):
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", file=sys.stderr, flush=True)


class Report:
    def __init__(self):
        self.scenario = ""
        self.rows = []

    def claim(self, claim, bound, measured, holds):
        """A bound that must hold."""
        self._add(claim, bound, measured, "holds" if holds else "FAILS")

    def at_most(self, claim, bound, measured, unit):
        self.claim(claim, f"<= {bound:g} {unit}", f"{measured:.4g} {unit}", measured <= bound)

    def at_least(self, claim, bound, measured, unit):
        self.claim(claim, f">= {bound:g} {unit}", f"{measured:.6g} {unit}", measured >= bound)

    def figure(self, claim, measured):
        """Something worth knowing that no bound is set for."""
        self._add(claim, "", measured, "")

    def _add(self, claim, bound, measured, verdict):
        row = {"scenario": self.scenario, "claim": claim, "bound": bound, "measured": measured, "verdict": verdict}
        self.rows.append(row)
        progress(f"{verdict or '     '} {claim}: {measured}{f' ({bound})' if bound else ''}")

    def all_hold(self):
        return all(row["verdict"] != "FAILS" for row in self.rows)

    def table(self):
        lines = ["| scenario | claim | bound | measured | verdict |", "|---|---|---|---|---|"]
        for row in self.rows:
            lines.append("| " + " | ".join(row.values()) + " |")
        return "\n".join(lines)

    def json(self):
        return {"all_hold": self.all_hold(), "claims": self.rows}


def quantile(values, q):
    """By the nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def percent(part, whole):
    return 100.0 * part / whole if whole else 0.0

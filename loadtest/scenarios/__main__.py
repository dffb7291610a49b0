"""Runs the scenarios named on the command line, then prints the table."""

import asyncio
import importlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from . import process
from .report import Report, progress

ALL = ["http2", "all_500", "detection", "cascade", "rolling", "group_death"]
RESULTS = Path(__file__).parent.parent / "resilience.json"


async def run(names):
    report = Report()
    for name in names:
        report.scenario = name
        progress(f"--- {name}")
        try:
            await importlib.import_module(f"{__package__}.{name}").run(report)
        except Exception as error:  # one that breaks must not hide the others
            report.claim("runs to its end", "yes", f"{type(error).__name__}: {error}", False)
        finally:
            process.end_all()
    return report


def conditions():
    return {
        "cpus": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "binary": os.environ["TIDEGATE_BIN"],
    }


def main():
    names = sys.argv[1:] or ALL
    if unknown := set(names) - set(ALL):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are: {' '.join(ALL)}")
    before = conditions()
    report = asyncio.run(run(names))
    print(report.table())
    result = {"conditions": before, "load_average_after": conditions()["load_average"], **report.json()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    if report.all_hold():
        shutil.rmtree(process.FOLDER)
    else:
        sys.exit(f"not all bounds hold; logs and configurations are in {process.FOLDER}")


main()

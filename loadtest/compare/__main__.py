"""See `loadtest/run`."""

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import peers

from . import plot, report
from .measure import Bench
from .origin import Origin
from .scenarios import COMPARED, GROWTH, RATES

HERE = Path(__file__).resolve().parent.parent
RESULTS = HERE / "results.json"
OTHERS = {"idle-plain": "plain", "idle-tls": "TLS"}
NAMES = [*(s.name for s in COMPARED), *OTHERS, *GROWTH, "latency"]


def arguments():
    parser = argparse.ArgumentParser(prog="loadtest/run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of a round")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="SCENARIO", help=", ".join(NAMES))
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--report", action="store_true", help="make the table and the plot again, without measuring")
    return parser.parse_args()


def main():
    # So that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    options = arguments()
    if options.report:
        return write(json.loads(RESULTS.read_text()))
    chosen = peers.all_peers()
    for name in options.peers or []:
        if name not in chosen:
            sys.exit(f"unknown: {name}; known are {', '.join(chosen)}")
    chosen = {n: p for n, p in chosen.items() if not options.peers or n in options.peers}
    # Whatever of them was not measured this time keeps its old figures: scenarios can be run again one by one.
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {"compared": {}, "idle": {}, "growth": {}, **results, **about(chosen, options)}
    folder = Path(tempfile.mkdtemp(prefix="tidegate-compare-"))
    folder.chmod(0o755)
    origin = None
    try:
        certificate(folder)
        origin = Origin(folder)
        run(Bench(folder, origin, options.rounds, options.seconds, HERE), chosen, options.only, results)
    finally:
        if origin:
            origin.process.end()
        shutil.rmtree(folder, ignore_errors=True)
    write(results)


def run(bench, chosen, only, results):
    tidegate = chosen.get("Tidegate")
    for scenario in COMPARED:
        if scenario.name in only:
            results["compared"][scenario.name] = bench.compare(scenario, chosen)
            save(results)
    for name, kind in OTHERS.items():
        if name in only:
            results["idle"][kind] = bench.idle(chosen, kind == "TLS")
            save(results)
    for name, growth in GROWTH.items():
        if name in only and tidegate:
            results["growth"][name] = bench.growth(name, growth, tidegate)
            save(results)
    if "latency" in only and tidegate:
        results["latency"] = bench.latency(tidegate, RATES)


def about(chosen, options):
    model = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "title": "Tidegate beside other load balancers",
        "machine": f"{os.cpu_count()} × {model[0] if model else platform.machine()}, Linux {platform.release()}",
        "date": datetime.date.today().isoformat(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": {name: version(peer) for name, peer in chosen.items()},
    }


def version(peer):
    if not peer.VERSION:
        return "0.9.1"
    done = subprocess.run(peer.VERSION, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found[0] if found else "?"


def certificate(folder):
    """ECDSA on P-256, as most are."""
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(made, check=True, capture_output=True)


def save(results):
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def write(results):
    save(results)
    table = report.markdown(results)
    RESULTS.with_suffix(".md").write_text(table)
    RESULTS.with_suffix(".svg").write_text(plot.svg(results))
    print(table)
    print(f"written: {RESULTS} and beside it .md and .svg", file=sys.stderr)


main()

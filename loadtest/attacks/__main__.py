"""Runs the attacks on each proxy and prints a line for each."""

import argparse
import json
import re
import shutil
import subprocess
import sys

from . import servers
from .floods import KINDS
from .slow import FIRST

PARTS = ["slow", "floods", "slowhttptest"]
# Tidegate's own deadlines in seconds, by kind.
DEADLINES = {"nothing": 10, "dribble": 10, "tls": 5, "preface": 10}


def role(name, *args, nice=0):
    """Attackers have the lowest priority: what they take of the machine's cores is not what is asked."""
    command = ["nice", "-n", str(nice), sys.executable, "-m", f"attacks.{name}", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(child):
    return json.loads(child.communicate()[0].strip().splitlines()[-1])


def good(server, options):
    return role("good", server.port, options.rate, options.seconds)


def line(server, what, text):
    print(f"{server.name:9} {what:14} {text}", flush=True)


def slow(server, options, quiet):
    """Good traffic beside slow connections of every kind."""
    before = server.memory()
    attack = role("slow", server.port, server.tls_port, options.connections, options.seconds + 15, ",".join(FIRST), nice=19)
    attack.stdout.readline()
    grown = server.memory() - before
    hit = result(good(server, options))
    lived = result(attack)
    line(server, "slow clients", f"{hit['failed']} of {hit['requests']} good requests failed, p99 {hit['p99'] * 1e3:.1f} ms "
         f"({hit['p99'] / quiet['p99']:.2f} of quiet), {grown / options.connections:.1f} KiB an attacker, "
         f"{lived['refused']} refused")
    for kind, one in lived["kinds"].items():
        longest = max(one["longest"], one["still_open"])
        late = "" if longest <= DEADLINES[kind] + 1 else f", over {DEADLINES[kind] + 1} s"
        line(server, f"  {kind}", f"{one['closed']} closed, longest {longest:.1f} s{late}")


def control(server, other, options, quiet):
    """The same slow connections at another process: what the machine does to good traffic, whoever is attacked."""
    attack = role("slow", other.port, other.tls_port, options.connections, options.seconds + 15, ",".join(FIRST), nice=19)
    attack.stdout.readline()
    hit = result(good(server, options))
    result(attack)
    line(server, "control", f"attack elsewhere: p99 {hit['p99'] * 1e3:.1f} ms ({hit['p99'] / quiet['p99']:.2f} of quiet)")


def memory(server, options):
    """What one plain slow connection costs."""
    before = server.memory()
    attack = role("slow", server.port, server.tls_port, options.connections, 8, "nothing,dribble", nice=19)
    attack.stdout.readline()
    line(server, "memory", f"{(server.memory() - before) / options.connections:.1f} KiB a plain slow connection")
    result(attack)


def floods(server, options, quiet):
    for kind in KINDS:
        load, cpu = good(server, options), server.cpu()
        flood = result(role("floods", server.port, kind, 5, nice=19))
        hit = result(load)
        closed = "not closed in 5 s" if flood["closed"] is None else f"closed after {flood['closed']:.2f} s"
        line(server, kind, f"{closed}, {hit['failed']} good requests failed, p99 {hit['p99'] / quiet['p99']:.2f} of quiet, "
             f"{server.cpu() - cpu:.1f} s of CPU")


def slowhttptest(server, options):
    for mode, name in (("-H", "headers"), ("-B", "body"), ("-X", "slow read")):
        count = str(min(options.connections, 1000))
        command = ["slowhttptest", mode, "-c", count, "-r", "200", "-l", "30", "-i", "5", "-x", "24", "-u",
                   f"http://127.0.0.1:{server.port}/"]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        available = re.findall(r"service available:\s*(\w+)", text)
        verdict = f"available {available.count('YES')} of {len(available)} looks" if available else "no figure"
        line(server, f"slowhttptest {mode}", f"{name}: {verdict}")


def main():
    parser = argparse.ArgumentParser(prog="loadtest/attack")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--only", action="append")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    servers.certificate()
    origin = servers.origin()
    for name in options.only or servers.available():
        server = servers.Server(name, origin)
        quiet = result(good(server, options))
        line(server, "quiet", f"{quiet['failed']} of {quiet['requests']} failed, p99 {quiet['p99'] * 1e3:.1f} ms")
        if "slow" in options.parts:
            slow(server, options, quiet)
            if name == "tidegate":
                other = servers.Server(name, origin)
                control(server, other, options, quiet)
                other.end()
            server.end()
            server = servers.Server(name, origin)
            memory(server, options)
        if name == "tidegate" and "floods" in options.parts:
            floods(server, options, quiet)
        if "slowhttptest" not in options.parts:
            pass
        elif shutil.which("slowhttptest"):
            slowhttptest(server, options)
        else:
            line(server, "slowhttptest", "skipped: apt-get install slowhttptest")
        server.end()


main()

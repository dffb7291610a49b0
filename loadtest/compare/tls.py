"""See `loadtest/tls`."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import peers
from peers import Job

from . import load
from .machine import LOAD_CORE, PROXY_CORE, Process, free_port
from .measure import Bench
from .origin import Origin

HERE = Path(__file__).resolve().parent.parent
PARTS = ["table", "rate", "resumption", "flood"]
NAMES = ["Tidegate", "nginx", "HAProxy", "Envoy", "stock Pingora"]
KINDS = {
    "RSA-2048, full": ("full", "rsa"),
    "ECDSA P-256, full": ("full", "ecdsa"),
    "resumed": ("resumed", "ecdsa"),
    "early data": ("early", "ecdsa"),
}
# nginx's OpenSSL takes early data of a ticket once, and refuses the rest: no steady figure.
EARLY = ["Tidegate", "HAProxy"]
SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"


def client(ports, mode, seconds, *options, nice=0):
    """Starts it; `result` waits for it."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    command = ["nice", "-n", str(nice), "taskset", "-c", str(LOAD_CORE), os.environ["TLS_CLIENT_BIN"], addresses, mode, str(seconds), *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(process, failures_allowed=False):
    figures = json.loads(process.communicate()[0])
    if not figures["requests"] or (figures["failed"] and not failures_allowed):
        raise load.Failed(f"{figures['failed']} failed: {figures['error']}")
    return figures


def certificates(folder):
    for kind, key in (("rsa", ["rsa:2048"]), ("ecdsa", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])):
        inside = folder / kind
        inside.mkdir()
        inside.chmod(0o755)
        made = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(inside / "key.pem")]
        subprocess.run([*made, "-out", str(inside / "cert.pem")], check=True, capture_output=True)


class Tls:
    def __init__(self, folder, rounds, seconds):
        certificates(folder)
        self.origin = Origin(folder)
        self.folder, self.rounds, self.seconds, self.numbers = folder, rounds, seconds, 0
        self.bench = Bench(folder, self.origin, rounds, seconds, HERE)

    def start(self, peer, key, core=PROXY_CORE, change=None, **job):
        self.numbers += 1
        folder = self.folder / key / f"proxy{self.numbers}"
        folder.mkdir()
        folder.chmod(0o755)
        origins = self.origin.addresses(2)
        made = Job(port=free_port(), origins=origins, folder=folder, tls=True, **job)
        command, env = peer.command(made)
        if change:
            path = Path(command[-1])
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        return Process(command, core, folder / "output", env).wait_for(made.port), made.port

    def table(self, chosen):
        """CPU of the proxy for one connection: handshake and one request."""
        figures = {}
        for kind, (mode, key) in KINDS.items():
            running = {
                name: self.start(peer, key, early=mode == "early")
                for name, peer in chosen.items()
                if mode != "early" or name in EARLY
            }
            options = ["--rsa"] if key == "rsa" else []

            def drive(port, seconds, _, mode=mode, options=options):
                one = result(client([port], mode, seconds, *options))
                wanted = {"full": 0, "resumed": one["requests"], "early": one["requests"]}[mode]
                got = one["early"] if mode == "early" else one["resumed"]
                if abs(got - wanted) > one["requests"] / 100:
                    raise load.Failed(f"{got} of {one['requests']} were {mode}")
                return one

            try:
                figures[kind] = self.bench.rounds_of(kind, running, drive)
            finally:
                for process, _ in running.values():
                    process.end()
        return figures

    def rate(self, tidegate):
        """3,000 new connections a second, nine of ten of them resumed; and all of them full."""
        figures = {}
        for shown, shares in (("nine of ten resumed", (300, 2700)), ("all full", (3000, 0))):
            process, port = self.start(tidegate, "ecdsa", change=answers_itself)
            try:
                result(client([port], "full", 1))
                before, began = process.cpu_seconds(), time.monotonic()
                clients = [client([port], "full", self.seconds, "--rate", shares[0], "--threads", 16)]
                if shares[1]:
                    clients.append(client([port], "resumed", self.seconds, "--rate", shares[1], "--threads", 32))
                each = [result(one) for one in clients]
                took = time.monotonic() - began
                cores = (process.cpu_seconds() - before) / took
                total = sum(one["requests"] for one in each) / self.seconds
                figures[shown] = {"rate": total, "cores": cores, "p99_us": [one["p99_us"] for one in each]}
                self.bench.say(f"{total:.0f} connections/s, {shown}: {cores:.2f} cores")
            finally:
                process.end()
        return figures

    def resumption(self, tidegate):
        """Two instances with one secret and epochs of 5 s, behind a balancer that knows nothing of TLS."""

        def shared(config):
            config["cluster"] = {"secret": SECRET, "key_rotation": "5s"}
            return config

        running = [self.start(tidegate, "ecdsa", change=shared) for _ in range(2)]
        port = free_port()
        path = self.folder / "tcp.cfg"
        servers = "\n".join(f"  server s{n} 127.0.0.1:{p}" for n, (_, p) in enumerate(running))
        path.write_text(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  balance roundrobin\n{servers}\n"
        )
        balancer = Process(["haproxy", "-db", "-f", str(path)], LOAD_CORE, self.folder / "tcp.out").wait_for(port)
        try:
            figures = result(client([port], "resumed", 20, "--rate", 200))
            share = figures["resumed"] / figures["requests"]
            self.bench.say(f"resumed: {share:.2%} of {figures['requests']} connections over 4 epochs")
            return {"share": share, "connections": figures["requests"]}
        finally:
            for process in [balancer, *(process for process, _ in running)]:
                process.end()

    def flood(self, tidegate):
        """Live requests at 2,000/s and resumed clients at 200/s, while full handshakes come at 200/s and at 1,000/s, to one
        worker on a machine of two cores. The clients of the flood have the lowest priority: what they do to the others on
        their core is not what is asked. The same with the flood going to another process tells what is left of that."""
        rounds = {"200/s": [], "1000/s": [], "1000/s elsewhere": []}
        process, port = self.start(tidegate, "ecdsa", core=None, change=answers_itself)
        other, elsewhere = self.start(tidegate, "ecdsa", core=None, change=answers_itself)
        try:
            for number in range(self.rounds):
                for shown in rounds:
                    one = self.under(port, elsewhere if "elsewhere" in shown else port, int(shown.split("/")[0]))
                    rounds[shown].append(one)
                    self.bench.say(
                        f"flood {number + 1}/{self.rounds} {shown:18} live p99 {one['live_p99_us'] / 1000:6.2f} ms, "
                        f"resumed p99 {one['resumed_p99_us'] / 1000:6.2f} ms, full done {one['full']:.0f}/s"
                    )
        finally:
            process.end()
            other.end()
        return rounds

    def under(self, port, flooded, rate):
        full = client([flooded], "full", self.seconds + 1, "--rate", rate, "--threads", 32, nice=19)
        resumed = client([port], "resumed", self.seconds, "--rate", 200, "--threads", 8)
        live = load.h2load(f"https://127.0.0.1:{port}/1024", self.seconds, self.folder, "--h1", "-c20", "--rps=100")
        resumed, full = result(resumed), result(full, failures_allowed=True)
        return {
            "live_p99_us": live["p99_us"],
            "live_rate": live["rate"],
            "resumed_p99_us": resumed["p99_us"],
            "full": full["requests"] / (self.seconds + 1),
            "full_failed": full["failed"],
        }


def answers_itself(config):
    """So that no origin takes a share of the load's core."""
    config["routes"] = [{"match": {}, "respond": {"status": 200, "body": "x" * 1024}}]
    config["pools"] = {}
    return config


def median(rounds, key):
    return statistics.median(one[key] for one in rounds)


def markdown(results):
    lines = ["# What TLS costs", "", f"{results['about']}. CPU is user + system time of the proxy for one connection: handshake and", "one request of 1 KiB. Medians; the ratio is Tidegate's by the other's.", ""]
    if "table" in results:
        lines += ["| | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
        base = {kind: median(each["Tidegate"], "cpu_us") for kind, each in results["table"].items()}
        for name in NAMES:
            cells = []
            for kind in KINDS:
                rounds = results["table"][kind].get(name)
                cpu = median(rounds, "cpu_us") if rounds else 0
                cells.append(f"{cpu:.0f} µs, {1e6 / cpu:.0f} a core-second ({base[kind] / cpu:.2f})" if rounds else "-")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    for shown, one in results.get("rate", {}).items():
        lines.append(f"- {one['rate']:.0f} new connections a second, {shown}: {one['cores']:.2f} cores.")
    if "resumption" in results:
        one = results["resumption"]
        lines.append(f"- Resumed over two instances and four epochs of their keys: {one['share']:.2%} of {one['connections']}.")
    if "flood" in results:
        base = results["flood"]["200/s"]
        for shown, rounds in results["flood"].items():
            live, resumed = median(rounds, "live_p99_us"), median(rounds, "resumed_p99_us")
            lines.append(
                f"- Full handshakes at {shown} ({median(rounds, 'full'):.0f} done): p99 of live requests {live / 1000:.2f} ms "
                f"({live / median(base, 'live_p99_us'):.2f}), of resumed clients {resumed / 1000:.2f} ms ({resumed / median(base, 'resumed_p99_us'):.2f})."
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="loadtest/tls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of a round")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    every = peers.all_peers()
    chosen = {name: every[name] for name in NAMES}
    path = HERE / "tls.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results["about"] = f"{os.cpu_count()} cores, {options.rounds} rounds of {options.seconds} s, interleaved; {time.strftime('%Y-%m-%d')}"
    folder = Path(tempfile.mkdtemp(prefix="tidegate-tls-"))
    folder.chmod(0o755)
    tls = Tls(folder, options.rounds, options.seconds)
    try:
        for part in options.only:
            results[part] = tls.table(chosen) if part == "table" else getattr(tls, part)(chosen["Tidegate"])
            path.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        tls.origin.process.end()
        shutil.rmtree(folder, ignore_errors=True)
    path.with_suffix(".md").write_text(markdown(results))
    print(markdown(results))


main()

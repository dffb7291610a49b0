"""Runs scenarios: rounds interleaved, so that what else the machine does falls on all alike."""

import sys
import time

from . import idle, load
from .machine import PROXY_CORE, Process, free_port


class Bench:
    """Where things are, and how long they take."""

    def __init__(self, folder, origin, rounds, seconds, package):
        self.folder, self.origin, self.package = folder, origin, package
        self.rounds, self.seconds = rounds, seconds
        self.began, self.numbers = time.monotonic(), 0

    def say(self, text):
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", file=sys.stderr, flush=True)

    def start(self, peer, core=PROXY_CORE, origins=2, **job):
        """A fresh process of this peer, and its port."""
        from peers import Job

        self.numbers += 1
        folder = self.folder / f"proxy{self.numbers}"
        folder.mkdir()
        folder.chmod(0o755)
        made = Job(port=free_port(), origins=self.origin.addresses(origins), folder=folder, **job)
        command, env = peer.command(made)
        process = Process(command, core, folder / "output", env).wait_for(made.port)
        if not load.serves(made.port, made.tls):
            process.end()
            sys.exit(f"{peer.NAME} listens but does not serve; see what it said:\n{open(process.errors).read()[-2000:]}")
        return process, made.port

    def rounds_of(self, name, running, drive):
        """{shown name: [figures of each round]}; the order turns with each round."""
        figures = {shown: [] for shown in running}
        failed = {}
        for shown, (_, port) in running.items():
            try:
                drive(port, 1, self.folder)  # warm
            except load.Failed as error:
                failed[shown] = str(error).strip()[-300:]
                self.say(f"{name}: {shown} can't do it: {failed[shown]}")
        order = [shown for shown in running if shown not in failed]
        for number in range(self.rounds):
            for shown in order[number % len(order) :] + order[: number % len(order)] if order else []:
                process, port = running[shown]
                before = process.cpu_seconds()
                try:
                    one = drive(port, self.seconds, self.folder)
                except load.Failed as error:
                    self.say(f"{name}: {shown} failed in round {number + 1}: {str(error).strip()[-300:]}")
                    continue
                one["cpu_us"] = (process.cpu_seconds() - before) / one["requests"] * 1e6
                one["memory_kib"] = process.memory_kib()
                figures[shown].append(one)
                said = f"{one['cpu_us']:9.1f} us CPU, {one['rate']:8.0f}/s, p99 {one['p99_us'] / 1000:7.2f} ms"
                self.say(f"{name} {number + 1}/{self.rounds} {shown:24.24} {said}")
        return {shown: rounds for shown, rounds in figures.items() if rounds}

    def compare(self, scenario, peers):
        job = {"tls": scenario.tls, "origins": scenario.origins, "checks": scenario.checks}
        running = {}
        try:
            for shown, peer in peers.items():
                if scenario.checks and not peer.CHECKS:
                    continue
                running[shown] = self.start(peer, **job)
            return self.rounds_of(scenario.name, running, scenario.drive)
        finally:
            for process, _ in running.values():
                process.end()

    def growth(self, name, growth, tidegate):
        running = {}
        try:
            for shown, job in growth.steps:
                running[shown] = self.start(tidegate, tls=growth.tls, **job)
            return self.rounds_of(name, running, growth.drive)
        finally:
            for process, _ in running.values():
                process.end()

    def idle(self, peers, tls):
        figures = {}
        for shown, peer in peers.items():
            process, port = self.start(peer, tls=tls)
            try:
                figures[shown] = idle.measure(process, port, tls, self.package)
                each = figures[shown]["kib_per_connection"]
                self.say(f"idle {'TLS' if tls else 'plain'} {shown:24} {each:6.2f} KiB a connection")
            except load.Failed as error:
                self.say(f"idle: {shown} can't do it: {error}")
            finally:
                process.end()
        return figures

    def latency(self, tidegate, rates):
        """The seed's figure: 100 backends behind one instance on all cores, at a steady rate, beside direct access."""
        process, port = self.start(tidegate, core=None, origins=100, checks=True, threads=0)
        figures = []
        try:
            for rate in rates:
                each = {}
                for shown, at in (("direct", self.origin.port), ("through Tidegate", port)):
                    options = ["--h1", "-c50", f"--rps={rate // 50}"]
                    rounds = []
                    for _ in range(self.rounds):
                        url = f"http://127.0.0.1:{at}/1024"
                        rounds.append(load.h2load(url, self.seconds, self.folder, *options))
                    each[shown] = sorted(rounds, key=lambda one: one["p99_us"])[len(rounds) // 2]
                    one = each[shown]
                    said = f"{one['rate']:8.0f}/s, p50 {one['p50_us'] / 1000:6.2f} ms, p99 {one['p99_us'] / 1000:6.2f} ms"
                    self.say(f"latency at {rate}/s {shown:18} {said}")
                figures.append({"asked_rate": rate, **each})
        finally:
            process.end()
        return figures

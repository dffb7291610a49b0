"""Processes pinned to a core, their CPU time and memory from /proc, and ports for them."""

import os
import signal
import socket
import subprocess
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")
PROXY_CORE, LOAD_CORE = 0, 1


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A command with whatever it starts itself; `core` is None for all cores."""

    def __init__(self, command, core, errors, env=None):
        pin = ["taskset", "-c", str(core)] if core is not None else []
        self.errors = errors
        with open(errors, "w") as log:
            self.process = subprocess.Popen(
                [*pin, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )

    def wait_for(self, port):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.process.args} does not listen on {port}:\n{open(self.errors).read()[-2000:]}")

    def pids(self):
        """Of the process and of those it started."""
        found, at = [self.process.pid], 0
        while at < len(found):
            pid, at = found[at], at + 1
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    found += map(int, open(f"/proc/{pid}/task/{task}/children").read().split())
            except OSError:
                pass
        return found

    def cpu_seconds(self):
        """User and system."""
        total = 0
        for pid in self.pids():
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory_kib(self):
        """Resident."""
        total = 0
        for pid in self.pids():
            lines = open(f"/proc/{pid}/status").read().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        return total

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

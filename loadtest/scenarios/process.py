"""Processes that a scenario starts, and ports for them."""

import atexit
import itertools
import os
import random
import socket
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="tidegate-resilience-"))
_running = []
# Below the ephemeral ports: there, an outgoing connection could take the port of a backend that is down.
_ports = itertools.count(random.randrange(15_000, 28_000))


def free_port():
    for port in _ports:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def start(*command, errors, **options):
    """Starts a command; what it says on standard error goes to the file `errors`."""
    with open(errors, "a") as file:
        one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=file, **options)
    _running.append(one)
    return one


def end_all():
    """SIGKILL ends stopped processes, too."""
    while _running:
        one = _running.pop()
        one.kill()
        one.wait()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


atexit.register(end_all)
os.set_inheritable(0, False)

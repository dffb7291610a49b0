"""Load, each kind by the tool that makes it best: wrk, h2load, and a client of our own for TLS handshakes."""

import csv
import http.client
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

from .machine import LOAD_CORE

CONNECTIONS = 32
UNITS = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000}


class Failed(Exception):
    """The load did not get what it asked for."""


def result(requests, seconds, p50, p99):
    return {"requests": requests, "rate": requests / seconds, "p50_us": p50, "p99_us": p99}


def trusting():
    """TLS to a server whose certificate nobody signed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def serves(port, tls, patience=30):
    """Some listen before they know where requests go."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if tls:
            made = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trusting())
        else:
            made = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            made.request("GET", "/1024")
            if len(made.getresponse().read()) == 1024:
                return True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            made.close()
        time.sleep(0.1)
    return False


def on_load_core(command):
    done = subprocess.run(["taskset", "-c", str(LOAD_CORE), *command], capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stdout + done.stderr)
    return done.stdout


def wrk(url, seconds, *options, folder=None, body=None, close=False):
    """HTTP/1.1, as many requests as go. `close`: a connection for each."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "30s", *options]
    if close:
        command += ["-H", "Connection: close"]
    if body:
        script = folder / f"post{body}.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {body})\n')
        command += ["-s", str(script)]
    out = on_load_core([*command, url])
    # A connection that is closed after its response is what was asked for; others are not.
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    bad = errors and (int(errors[1]) or int(errors[4]) or (not close and int(errors[2]) + int(errors[3])))
    if bad or "Non-2xx" in out:
        raise Failed(out)
    requests, took = re.search(r"(\d+) requests in ([\d.]+)(\w+),", out).groups()[:2]
    share = {p: re.search(rf"^\s+{p}%\s+([\d.]+)(\w+)$", out, re.M) for p in (50, 99)}
    if not all(share.values()):
        raise Failed(f"not one request was over in {seconds} s")
    micros = {p: float(found[1]) * UNITS[found[2]] for p, found in share.items()}
    return result(int(requests), float(took), micros[50], micros[99])


def h2load(url, seconds, folder, *options):
    """HTTP/2 with 16 streams on each of 8 connections, or what `options` say."""
    # In a folder of its own: Tidegate watches those of certificates, and would hear of each line.
    log = folder / "load" / "h2load.log"
    log.parent.mkdir(exist_ok=True)
    options = options or ("-c8", "-m16")
    out = on_load_core(["h2load", *options, f"-D{seconds}", "--warm-up-time=1", f"--log-file={log}", url])
    done, failed = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed", out).groups()
    if int(failed) or not int(done):
        raise Failed(out)
    with open(log) as file:
        times = sorted(int(row[2]) for row in csv.reader(file, delimiter="\t"))
    log.unlink()
    return result(int(done), seconds, times[len(times) // 2], times[len(times) * 99 // 100])


def handshakes(port, seconds, resume, threads=8):
    """A connection with a TLS handshake for each request: full ones, or resumed on each but the first of a thread.

    Not by wrk: it resumes sessions on its own account, where a server lets it."""
    context = trusting()
    until, times, wrong = time.monotonic() + seconds, [], []

    def visit(session):
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            # The end of the handshake and the request are two writes: the second must not wait for the first's ACK.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(plain, session=session, server_hostname="localhost") as stream:
                stream.sendall(b"GET /1024 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                got = b""
                while piece := stream.recv(16384):
                    got += piece
                # The ticket comes after the handshake: only now is it there.
                session, reused = stream.session, stream.session_reused
        if not got.startswith(b"HTTP/1.1 200") or len(got) < 1024:
            raise Failed(got[:200])
        return session, reused, (time.perf_counter() - began) * 1e6

    def client():
        try:
            session, _, _ = visit(None)
            while time.monotonic() < until:
                session, reused, took = visit(session if resume else None)
                times.append(took)
                if reused != resume:
                    wrong.append("the other kind")
        except (OSError, Failed) as error:
            wrong.append(error)

    workers = [threading.Thread(target=client) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if not times or len(wrong) > len(times) // 100:
        raise Failed(f"{len(wrong)} of {len(times)} handshakes were not as wanted: {wrong[:1]}")
    times.sort()
    return result(len(times), seconds, times[len(times) // 2], times[len(times) * 99 // 100])


if __name__ == "__main__":
    # `python3 -m compare.load PORT SECONDS full|resumed`: on a core of its own, as the caller pins it.
    import json

    try:
        print(json.dumps(handshakes(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resumed")))
    except Failed as error:
        sys.exit(str(error))

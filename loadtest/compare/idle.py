"""Memory of idle connections: the slope between two numbers of them, in a fresh process; and what is left after a burst."""

import socket
import subprocess
import sys
import time

from . import load
from .machine import LOAD_CORE

FEW, MANY = 2000, 6000
REQUEST = b"GET /1024 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def measure(process, port, tls, module_path):
    """KiB per connection, and of the whole process."""
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "compare.idle", str(port), "tls" if tls else "plain"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=module_path)

    def hold(count):
        holder.stdin.write(f"{count}\n")
        holder.stdin.flush()
        said = holder.stdout.readline().strip()
        if said != "held":
            raise load.Failed(f"idle connections: {said}")
        time.sleep(1)
        return process.memory_kib()

    try:
        start = process.memory_kib()
        few, many = hold(FEW), hold(MANY)
        scheme = "https" if tls else "http"
        load.wrk(f"{scheme}://127.0.0.1:{port}/{60 * 1024}", 3)
        time.sleep(3)
        after = process.memory_kib()
    finally:
        holder.kill()
        holder.wait()
    return {
        "kib_per_connection": (many - few) / (MANY - FEW),
        "start_kib": start,
        "many_kib": many,
        "after_burst_kib": after,
    }


def main():
    """Holds as many connections as the lines of standard input say. Each has had one response."""
    port, tls = int(sys.argv[1]), sys.argv[2] == "tls"
    context, held = load.trusting(), []
    for line in sys.stdin:
        while len(held) < int(line):
            stream = socket.create_connection(("127.0.0.1", port), 20)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                stream = context.wrap_socket(stream, server_hostname="localhost")
            stream.sendall(REQUEST)
            got = b""
            while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 1024:
                try:
                    piece = stream.recv(16384)
                except OSError as error:
                    return print(f"connection {len(held) + 1}: {error}", flush=True)
                if not piece:
                    return print(f"connection {len(held) + 1} closed after {got[:100]}", flush=True)
                got += piece
            held.append(stream)
        print("held", flush=True)


if __name__ == "__main__":
    main()

"""Runs the rounds of `loadtest/cpu`; see there."""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS, SECONDS = int(sys.argv[1]), int(sys.argv[2])
TICKS = os.sysconf("SC_CLK_TCK")
BODIES = {"1 KiB": 1024, "60 KiB": 60 * 1024}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


def start(core, *command):
    return subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def origin(folder, ports):
    for name, size in BODIES.items():
        with open(f"{folder}/{size}", "w") as f:
            f.write("x" * size)
    listens = "".join(f"listen 127.0.0.1:{p};" for p in ports)
    with open(f"{folder}/nginx.conf", "w") as f:
        f.write(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;"
            "events { worker_connections 4096; }"
            f"http {{ access_log off; keepalive_requests 1000000; sendfile on; open_file_cache max=16;"
            f"client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;"
            f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
            f"server {{ {listens} root {folder}; }} }}"
        )
    return start(1, "nginx", "-c", f"{folder}/nginx.conf")


def tidegate(folder, port, origins, log):
    with open(f"{folder}/{port}.yaml", "w") as f:
        f.write(
            "version: 1\nthreads: 1\nadmin: { listen: none }\n"
            f"log: {{ access: {log}, level: warn }}\n"
            f'listeners: [{{ name: public, listen: "127.0.0.1:{port}" }}]\n'
            "routes: [{ match: { path_prefix: / }, pool: web }]\n"
            "pools: { web: { policy: round_robin, backends: [%s] } }\n"
            % ", ".join(f'"{o}"' for o in origins)
        )
    return start(0, "target/dist/tidegate", "run", "-c", f"{folder}/{port}.yaml")


def load(port, size):
    out = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/{size}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(out)
    return int(re.search(r"(\d+) requests in", out).group(1))


def main():
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    origins = [free_port(), free_port()]
    addresses = [f"127.0.0.1:{p}" for p in origins]
    ports = {name: free_port() for name in ("stock Pingora", "Tidegate", "Tidegate, access log to a file")}
    running = [origin(folder, origins)]
    proxies = {
        "stock Pingora": start(
            0, "target/dist/examples/stock_pingora", f"127.0.0.1:{ports['stock Pingora']}", *addresses
        ),
        "Tidegate": tidegate(folder, ports["Tidegate"], addresses, "off"),
        "Tidegate, access log to a file": tidegate(
            folder, ports["Tidegate, access log to a file"], addresses, f"{folder}/access.log"
        ),
    }
    running += proxies.values()
    figures = {}
    try:
        for port in [*origins, *ports.values()]:
            wait_for(port)
        for size_name, size in BODIES.items():
            for name, port in ports.items():
                load(port, size)  # warm
            for r in range(ROUNDS):
                for name, proxy in proxies.items():
                    before = cpu_seconds(proxy.pid)
                    requests = load(ports[name], size)
                    spent = (cpu_seconds(proxy.pid) - before) / requests * 1e6
                    figures.setdefault((size_name, name), []).append((spent, requests / SECONDS))
                    print(f"round {r + 1}/{ROUNDS} {size_name:7} {name:32} {spent:6.1f} us", file=sys.stderr)
    finally:
        for process in running:
            process.terminate()
    print("| response | proxy | CPU us per request: median (min to max) | requests/s | of stock Pingora |")
    print("|---|---|---|---|---|")
    result = []
    for (size_name, name), rounds in figures.items():
        cpu = [c for c, _ in rounds]
        median = statistics.median(cpu)
        stock = statistics.median([c for c, _ in figures[(size_name, "stock Pingora")]])
        rate = statistics.median([r for _, r in rounds])
        print(f"| {size_name} | {name} | {median:.1f} ({min(cpu):.1f} to {max(cpu):.1f}) | {rate:.0f} | {median / stock:.2f} |")
        result.append({"response": size_name, "proxy": name, "cpu_us": cpu, "rate": rate})
    with open("loadtest/results.json", "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")


main()

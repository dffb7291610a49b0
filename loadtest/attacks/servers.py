"""The proxies that are compared, in front of one origin; one worker each, their timeouts as they come."""

import json
import os
import shutil
import subprocess
import time

from scenarios import process

FOLDER = process.FOLDER


def certificate():
    cert, key = FOLDER / "cert.pem", FOLDER / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=good.example", "-addext", "subjectAltName=DNS:good.example", "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    (FOLDER / "both.pem").write_text(cert.read_text() + key.read_text())
    return cert, key


def nginx_conf(name, servers):
    temp = "".join(f"{kind}_temp_path {FOLDER}/{name}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = (
        f"daemon off; pid {FOLDER}/{name}.pid; error_log {FOLDER}/{name}.log; worker_processes 1; worker_rlimit_nofile 20000;"
        f"events {{ worker_connections 19000; }} http {{ access_log off; keepalive_requests 10000000; {temp} {servers} }}"
    )
    path = FOLDER / f"{name}.conf"
    path.write_text(text)
    return str(path)


def origin():
    port = process.free_port()
    conf = nginx_conf("origin", f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 good; }} }}")
    process.start("nginx", "-c", conf, errors=FOLDER / "origin.err")
    return port


class Server:
    """A running proxy; `port` is plain, `tls_port` may be the same where there is no TLS."""

    def __init__(self, name, origin):
        self.name, self.port, self.tls_port = name, process.free_port(), process.free_port()
        command = getattr(self, name)(f"127.0.0.1:{origin}")
        self.child = process.start(*command, errors=FOLDER / f"{name}.err")
        for _ in range(200):
            if process.listens(self.port):
                return
            time.sleep(0.05)
        raise RuntimeError(f"{name} does not listen: {(FOLDER / f'{name}.err').read_text()}")

    def tidegate(self, origin):
        cert, key = FOLDER / "cert.pem", FOLDER / "key.pem"
        tls = {"certificates": [{"cert": str(cert), "key": str(key)}]}
        config = {
            "version": 1,
            "threads": 1,
            "admin": {"listen": "none"},
            "log": {"access": "off", "level": "warn"},
            "listeners": [
                {"name": "plain", "listen": f"127.0.0.1:{self.port}"},
                {"name": "tls", "listen": f"127.0.0.1:{self.tls_port}", "tls": tls},
            ],
            "routes": [{"match": {"path_prefix": "/"}, "pool": "web"}],
            "pools": {"web": {"backends": [origin]}},
        }
        path = FOLDER / "tidegate.yaml"
        path.write_text(json.dumps(config))
        return os.environ["TIDEGATE_BIN"], "run", "-c", str(path)

    def nginx(self, origin):
        tls = f"listen 127.0.0.1:{self.tls_port} ssl; ssl_certificate {FOLDER}/cert.pem; ssl_certificate_key {FOLDER}/key.pem;"
        back = f"upstream web {{ server {origin}; keepalive 64; }}"
        pass_on = 'location / { proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection ""; }'
        conf = nginx_conf("nginx", f"{back} server {{ listen 127.0.0.1:{self.port}; {tls} {pass_on} }}")
        return "nginx", "-c", conf

    def haproxy(self, origin):
        # It wants two descriptors for each of maxconn at start, of which there are 20,000.
        text = f"""
global
    nbthread 1
    maxconn 9900
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
frontend public
    bind 127.0.0.1:{self.port}
    bind 127.0.0.1:{self.tls_port} ssl crt {FOLDER}/both.pem
    default_backend web
backend web
    server a {origin}
"""
        path = FOLDER / "haproxy.cfg"
        path.write_text(text)
        return "haproxy", "-db", "-f", str(path)

    def stock(self, origin):
        self.tls_port = self.port
        return os.environ["STOCK_BIN"], f"127.0.0.1:{self.port}", origin, origin

    def pids(self):
        """The process and its workers."""
        found = [self.child.pid]
        children = subprocess.run(["pgrep", "-P", str(self.child.pid)], capture_output=True, text=True, check=False)
        return found + [int(pid) for pid in children.stdout.split()]

    def memory(self):
        """Resident, in KiB."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as status:
                total += next((int(line.split()[1]) for line in status if line.startswith("VmRSS")), 0)
        return total

    def cpu(self):
        ticks = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.child.terminate()
        try:
            self.child.wait(2)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def available():
    """Which of them can be started here."""
    names = [name for name in ("tidegate", "nginx", "haproxy") if name == "tidegate" or shutil.which(name)]
    return names + (["stock"] if os.environ.get("STOCK_BIN") else [])

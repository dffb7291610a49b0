"""HAProxy of Debian."""

from . import KEEP

NAME = "HAProxy"
VERSION = ["haproxy", "-v"]
CHECKS = True


def command(job):
    bind = f"127.0.0.1:{job.port}"
    if job.tls:
        both = job.write("both.pem", job.cert.read_text() + job.key.read_text())
        bind += f" ssl crt {both} alpn h2,http/1.1" + (" allow-0rtt" if job.early else "")
    check = " check inter 1s" if job.checks else ""
    servers = "\n".join(f"  server s{n} {o}{check}" for n, o in enumerate(job.origins))
    config = f"""
global
  nbthread 1
  maxconn 9000
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout connect 5s
  timeout client {KEEP}s
  timeout server {KEEP}s
  timeout http-keep-alive {KEEP}s
  option forwardfor
  http-reuse always
frontend public
  bind {bind}
  default_backend web
backend web
  balance roundrobin
  {"option httpchk GET /healthz" if job.checks else ""}
{servers}
"""
    return ["haproxy", "-db", "-f", job.write("haproxy.cfg", config)], None

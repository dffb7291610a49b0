"""Caddy of Debian."""

from . import KEEP, ONE_CPU

NAME = "Caddy"
VERSION = ["caddy", "version"]
CHECKS = True


def command(job):
    site = f"https://:{job.port}" if job.tls else f"http://:{job.port}"
    checks = "health_uri /healthz\n      health_interval 1s" if job.checks else ""
    config = f"""
{{
  admin off
  auto_https off
  servers {{
    timeouts {{
      idle {KEEP}s
    }}
  }}
  log {{
    output discard
  }}
}}
{site} {{
  bind 127.0.0.1
  {f"tls {job.cert} {job.key}" if job.tls else ""}
  reverse_proxy {" ".join(job.origins)} {{
      lb_policy round_robin
      {checks}
      transport http {{
        keepalive {KEEP}s
        keepalive_idle_conns_per_host 256
      }}
  }}
}}
"""
    path = job.write("Caddyfile", config)
    env = {**ONE_CPU, "XDG_CONFIG_HOME": str(job.folder), "XDG_DATA_HOME": str(job.folder), "HOME": str(job.folder)}
    return ["caddy", "run", "--adapter", "caddyfile", "--config", path], env

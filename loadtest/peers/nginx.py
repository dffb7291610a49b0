"""nginx of Debian."""

from . import KEEP

NAME = "nginx"
VERSION = ["nginx", "-v"]
CHECKS = False


def command(job):
    f = job.folder
    listen = f"listen 127.0.0.1:{job.port}"
    tls = f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {job.cert}; ssl_certificate_key {job.key}; ssl_session_tickets on;" if job.tls else ""
    tls += "ssl_early_data on;" if job.early else ""
    config = f"""
daemon off; pid {f}/pid; error_log {f}/error.log; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  client_body_temp_path {f}/b; proxy_temp_path {f}/p; fastcgi_temp_path {f}/f; uwsgi_temp_path {f}/u; scgi_temp_path {f}/s;
  keepalive_requests 100000000; keepalive_timeout {KEEP}; client_max_body_size 0; proxy_request_buffering off;
  upstream web {{ {" ".join(f"server {o};" for o in job.origins)} keepalive 256; keepalive_requests 100000000; }}
  server {{
    {listen}{" ssl http2" if job.tls else ""};
    {tls}
    location / {{
      proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
    return ["nginx", "-c", job.write("nginx.conf", config)], None

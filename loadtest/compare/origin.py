"""The origin: one nginx that answers on every address of 127.0.0.0/8, so that it can stand for any number of backends."""

from .machine import LOAD_CORE, Process, free_port

SIZES = {"1 KiB": 1024, "60 KiB": 60 * 1024}


class Origin:
    def __init__(self, folder):
        self.port = free_port()
        folder = folder / "origin"
        folder.mkdir()
        folder.chmod(0o755)
        for size in SIZES.values():
            (folder / str(size)).write_text("x" * size)
        (folder / "healthz").write_text("ok\n")
        sink = f"unix:{folder}/sink"
        # A body is read whole before it is answered: that is what proxies are to bring about.
        config = f"""
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600; sendfile on; tcp_nopush on; open_file_cache max=16;
  client_max_body_size 0; client_body_buffer_size 11m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream sink {{ server {sink}; keepalive 64; }}
  server {{
    listen 0.0.0.0:{self.port} backlog=4096; root {folder};
    location /upload {{
      proxy_pass http://sink; proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length "";
      proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
  server {{ listen {sink}; location / {{ return 200 "ok"; }} }}
}}
"""
        (folder / "nginx.conf").write_text(config)
        command = ["nginx", "-c", str(folder / "nginx.conf")]
        self.process = Process(command, LOAD_CORE, folder / "output").wait_for(self.port)

    def addresses(self, count):
        return [f"127.0.{1 + n // 250}.{1 + n % 250}:{self.port}" for n in range(count)]

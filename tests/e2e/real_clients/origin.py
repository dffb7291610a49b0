"""A Flask application as an origin. Its argument is the WSGI server: werkzeug, or wsgiref, which keeps names with `_`.

Says its port in the first line of its output, and ends when its input does.
"""
import sys
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flask import Flask, request, session

app = Flask(__name__)
app.secret_key = "only for tests"


@app.route("/login")
def login():
    session["user"] = "ann"
    return "welcome"


@app.route("/who", methods=["GET", "POST"])
def who():
    return session.get("user", "nobody") + " " + request.cookies.get("theme", "plain")


@app.route("/admin/<path:name>", methods=["GET", "POST"])
def admin(name):
    return "admin handler"


@app.route("/open", methods=["GET", "POST"])
def anybody():
    return "open"


@app.route("/auth", methods=["GET", "POST"])
def auth():
    return request.environ.get("HTTP_X_AUTH_USER", "nobody")


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def server():
    if sys.argv[1] == "wsgiref":
        return make_server("127.0.0.1", 0, app, Threads, Quiet)
    import logging
    from werkzeug.serving import make_server as werkzeug

    logging.getLogger("werkzeug").disabled = True
    return werkzeug("127.0.0.1", 0, app, threaded=True)


origin = server()
threading.Thread(target=origin.serve_forever, daemon=True).start()
print(origin.server_port, flush=True)
sys.stdin.read()

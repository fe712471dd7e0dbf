"""Servers of this test process that do wrong what they are told to: plain HTTP, and S3."""

import re
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ssl_swin.data.remote.cache import ShardCache
from ssl_swin.data.remote.indexes import find_tars
from ssl_swin.data.remote.remote_shards import RemoteShards
from ssl_swin.data.remote.room import Room
from ssl_swin.data.shards.retry import Retry
from ssl_swin.data.shards.shard_set import ShardSet

QUICK = Retry(num_tries=5, first_wait_s=0.01, stalled_s=1.5)


def cache_in(folder, limit_bytes=10**9, **options):
    """A cache that loses patience soon."""
    options = {"retry": QUICK, "room_wait_s": 0.3} | options
    return ShardCache(Room(Path(folder) / "shards", limit_bytes), **options)


def remote_set(url, cache, **options):
    """A set of shards that come through this cache."""
    return ShardSet(RemoteShards(*find_tars(url, cache, **options), cache))


class Server:
    """Serves a folder. `faults[name]` is a list, one for each GET of the file, the last for ever.

    A fault is None; a status; ("cut", n) or ("stall", n) after n bytes; ("replace", n, bytes): cut,
    and the file is another then; ("short", n): n bytes are left out; ("length", n): so many more
    are announced, by HEAD too, which then uses it up.
    """

    def __init__(self, folder, ranges=True):
        self.folder, self.ranges = Path(folder), ranges
        self.faults = defaultdict(lambda: [None])
        self.gets, self.sent = Counter(), Counter()
        self.released = threading.Event()
        self._lock = threading.Lock()

    def fault(self, name, take):
        with self._lock:
            self.gets[name] += take
            queue = self.faults[name]
            take = take or (isinstance(queue[0], tuple) and queue[0][0] == "length")
            return queue.pop(0) if take and len(queue) > 1 else queue[0]


@contextmanager
def serving(folder, **options):
    server = Server(folder, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, body):
            name = self.path.partition("?")[0].strip("/")
            fault = server.fault(name, body)
            path = server.folder / name
            if isinstance(fault, int) and (body or fault != 500):
                return self.send_error(fault)
            if not path.exists():
                return self.send_error(404)
            if path.is_dir():
                links = "".join(f'<a href="{p.name}">{p.name}</a>' for p in path.iterdir())
                return self.send(200, links.encode(), {"Content-Type": "text/html"}, body, None)
            data, status = path.read_bytes(), 200
            headers = {"ETag": f'"{path.stat().st_mtime_ns}-{len(data)}"'}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, headers["ETag"])
            if asked and server.ranges and same:
                first, last = int(asked[1]), int(asked[2] or len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                data, status = data[first : last + 1], 206
            return self.send(status, data, headers, body, fault, name)

        def send(self, status, data, headers, body, fault, name=""):
            what, num, *other = fault if isinstance(fault, tuple) else (None, 0)
            extra = num if what == "length" else 0
            data = data[: len(data) - num] if what == "short" and body else data
            headers["Content-Length"] = str(len(data) + extra)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if not body:
                return
            if what in ("cut", "stall", "replace"):
                data = data[:num]
            server.sent[name] += len(data)
            self.wfile.write(data)
            if what == "stall":
                self.wfile.flush()
                server.released.wait(10)
            if what == "replace":
                (server.folder / name).write_bytes(other[0])
            self.close_connection = what is not None

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request, client_address):
            pass  # the client has gone

    http = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def serving_s3(monkeypatch):
    """An S3 server, found by the usual environment; yields its faults: 500, or ("cut", n)."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)
    faults = defaultdict(list)

    def app(environ, start_response):
        name = environ["PATH_INFO"].rpartition("/")[2]
        fault = None
        if environ["REQUEST_METHOD"] == "GET" and faults[name]:
            fault = faults[name].pop(0)
        if fault == 500:
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        body = moto(environ, start_response)
        if fault is None:
            return body
        return [b"".join(body)[: fault[1]]]

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

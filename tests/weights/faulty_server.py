"""A real HTTP server on loopback that serves one content, and misbehaves as it is told to."""

import hashlib
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kzoo.weights.record import File, Preprocessing, Record

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """`faults` are taken one a request, in order; what is left of the requests is answered by `otherwise`."""

    daemon_threads = True
    scheme = "http"

    def __init__(self, content, faults, otherwise):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.faults = list(faults)
        self.otherwise = otherwise
        self.ranges = []  # the header of each request, None where it had none
        self.go_on = threading.Event()  # what `stall` waits for

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/folder/weights.bin"

    def handle_error(self, request, client_address):
        """A client that was killed is what is tested; no word about it."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] - the only one it is used in

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        fault = self.server.faults.pop(0) if self.server.faults else self.server.otherwise
        fault(self)

    def start(self, status, length, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True

    def log_message(self, format, *args):  # noqa: A002 - the base class's name
        """Nothing: what was asked is in `ranges`."""


def whole(handler):
    """The content, or the part of it that Range asks for."""
    content, asked = handler.server.content, handler.headers.get("Range")
    if asked is None:
        handler.start(200, len(content), Content_Type="application/octet-stream")
        handler.wfile.write(content)
        return
    first = int(asked.removeprefix("bytes=").removesuffix("-"))
    if first >= len(content):
        handler.start(416, 0, Content_Range=f"bytes */{len(content)}")
        return
    handler.start(206, len(content) - first, Content_Range=f"bytes {first}-{len(content) - 1}/{len(content)}")
    handler.wfile.write(content[first:])


def cut(count):
    """The connection breaks after `count` bytes of what was asked for."""

    def fault(handler):
        write = handler.wfile.write
        handler.wfile.write = lambda data: write(data if data.startswith(b"HTTP/") else data[:count])
        whole(handler)

    return fault


def stall(count):
    """After `count` bytes of what was asked for nothing comes until the test says so; then the rest."""

    def fault(handler):
        write = handler.wfile.write

        def slowly(data):
            if data.startswith(b"HTTP/"):
                return write(data)
            write(data[:count])
            handler.server.go_on.wait(60)
            return write(data[count:])

        handler.wfile.write = slowly
        whole(handler)

    return fault


def ignore_range(handler):
    """A server that knows no Range."""
    handler.start(200, len(handler.server.content))
    handler.wfile.write(handler.server.content)


def status(number):
    def fault(handler):
        handler.start(number, 5, Content_Type="text/plain")
        handler.wfile.write(b"sorry")

    return fault


def web_page(handler):
    """What a network that wants a login answers to everything."""
    page = b"<!doctype html><title>Please log in</title>"
    handler.start(200, len(page), Content_Type="text/html; charset=utf-8")
    handler.wfile.write(page)


def other(content):
    """Another file under the same name."""

    def fault(handler):
        handler.start(200, len(content))
        handler.wfile.write(content)

    return fault


def without_length(content):
    """An answer whose end is the end of the connection."""

    def fault(handler):
        handler.start(200, None)
        handler.wfile.write(content)

    return fault


def redirect(target):
    def fault(handler):
        handler.start(302, 0, Location=target)

    return fault


def pack_if_allowed(handler):
    """Compress on the way, for a client that takes it."""
    if "gzip" in handler.headers.get("Accept-Encoding", ""):
        answer(200, Content_Encoding="gzip")(handler)
    else:
        whole(handler)


def answer(number, **headers):
    """A status and headers, and the content whatever they say."""

    def fault(handler):
        handler.start(number, None if "Content_Length" in headers else len(handler.server.content), **headers)
        handler.wfile.write(handler.server.content)

    return fault


@contextmanager
def serving(*faults, content=CONTENT, otherwise=whole, tls=None):
    """Serve until the end of the block; with `tls`, a certificate and its key, by https."""
    server = Server(content, faults, otherwise)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def record_of(*files):
    """A record of such files, otherwise like any."""
    return Record(
        model="test_net",
        tag="test",
        source="kzoo",
        project="https://example.org",
        licence=None,
        format="raw",
        files=files,
        classes=10,
        labels="mnist",
        input_size=(28, 28, 1),
        preprocessing=Preprocessing(channel_order="rgb", mean=(0.0,), std=(1.0,)),
    )


def file_at(url, content=CONTENT, **changes):
    """The file that has such content."""
    sha256 = hashlib.sha256(content).hexdigest()
    return File(**{"name": "weights.bin", "url": url, "size": len(content), "sha256": sha256, **changes})

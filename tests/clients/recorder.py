"""A proxy that passes requests on to a server and keeps them, for tests/clients/run --record.

A record is a list of requests: method, path, the headers that may change an answer, and the body as the
client sent it (parsed JSON), but for the name of the model, which is MODEL. test_recorded.py sends them
again.
"""

import http.client
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

KEPT_HEADERS = ("accept", "anthropic-version", "anthropic-beta", "content-type", "origin")
HOP_HEADERS = ("connection", "host", "transfer-encoding", "content-length", "expect", "keep-alive")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def keep(self, body):
        kept = {"method": self.command, "path": self.path}
        headers = {k.lower(): v for k, v in self.headers.items()}
        kept["headers"] = {k: headers[k] for k in KEPT_HEADERS if k in headers}
        if body:
            kept["body"] = json.loads(body)
            if "model" in kept["body"]:
                kept["body"]["model"] = "MODEL"
        self.server.requests.append(kept)

    def forward(self):
        body = self.body()
        self.keep(body)
        to = http.client.HTTPConnection(self.server.to, timeout=600)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
        to.request(self.command, self.path, body or None, headers)
        reply = to.getresponse()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while piece := reply.read1():
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:  # the client is gone, so is the request
            pass
        to.close()

    do_GET = do_POST = do_DELETE = do_HEAD = do_OPTIONS = forward


@contextmanager
def recording(url, path):
    """A proxy before the server at url; its own URL. At the end what was sent is in the file path."""
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.to, proxy.requests = urlsplit(url).netloc, []
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        with open(path, "w", encoding="utf-8") as file:
            json.dump(proxy.requests, file, ensure_ascii=False, indent=1)
            file.write("\n")

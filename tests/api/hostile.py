"""A misbehaving HTTP server, for tests of the commands that send requests."""

import contextlib
import socket
import threading


class HostileServer:
    """Calls answer(write, path) for each request; its bytes are sent unchanged, until the client has
    disconnected. .sent counts these bytes, .requests has the heads of the requests."""

    def __init__(self, answer, tls=None):
        self.answer, self.tls = answer, tls
        self.requests, self.sent = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self.port}"
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.threads.append(threading.Thread(target=self.serve, args=(connection,),
                                                     daemon=True))  # fmt: skip
                self.threads[-1].start()

    def serve(self, connection):
        # a client that stops reading must not hold this thread for ever
        connection.settimeout(30)
        with contextlib.suppress(OSError), connection:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := connection.recv(65536)):
                    return
                head += data
            head, _, body = head.partition(b"\r\n\r\n")
            length = int(next((line.split(b":")[1] for line in head.split(b"\r\n")
                               if line.lower().startswith(b"content-length:")), 0))  # fmt: skip
            while len(body) < length:
                body += connection.recv(65536)
            self.requests.append(head.decode())
            self.answer(Writer(self, connection), head.split()[1].decode())

    def close(self):
        # close() alone does not wake an accept()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Writer:
    def __init__(self, server, connection):
        self.server, self.connection = server, connection

    def __call__(self, data):
        self.connection.sendall(data)
        self.server.sent += len(data)

    def json(self, text):
        self(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
             b"Content-Length: %d\r\n\r\n%b" % (len(text), text))  # fmt: skip

    def stream(self, more=b"", kind=b"text/event-stream"):
        self(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nConnection: close\r\n%b"
             b"Transfer-Encoding: chunked\r\n\r\n" % (kind, more))  # fmt: skip

    def chunk(self, data):
        self(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self):
        self(b"0\r\n\r\n")

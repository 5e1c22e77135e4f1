"""A small HTTP client for tests: shows raw bytes, and the time at which they arrived."""

import contextlib
import json
import socket
import struct
import time

HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object; checks its shape."""
        error = self.json()["error"]
        assert {"message", "type", "param", "code"} <= set(error), error
        assert error["message"] and error["type"]
        assert self.headers["content-type"].startswith("application/json")
        return error


class Connection:
    """A connection, for any number of requests."""

    def __init__(self, server, receive_buffer=None, timeout=120):
        self.port = server.port
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", server.port))
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def reset(self):
        """Closes the connection with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, method, path, body=None, headers=None):
        """Sends a request. body: bytes, or a value to send as JSON. A header that is None is left out."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = {"Host": f"127.0.0.1:{self.port}"}
        if body is not None:
            lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines |= headers or {}
        text = f"{method} {path} HTTP/1.1\r\n"
        text += "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v is not None)
        self.socket.sendall(text.encode("latin-1") + b"\r\n" + (body or b""))

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(self.rest)
        return data

    def read_head(self):
        while b"\r\n\r\n" not in self.rest:
            self.rest += self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        return int(first.split()[1]), headers

    def chunks(self):
        """Yields the chunks of a chunked body, each with the time at which its last byte was received."""
        now = time.monotonic()
        while True:
            while b"\r\n" not in self.rest:
                self.rest, now = self.rest + self.more(), time.monotonic()
            size, self.rest = self.rest.split(b"\r\n", 1)
            size = int(size, 16)
            while len(self.rest) < size + 2:
                self.rest, now = self.rest + self.more(), time.monotonic()
            data, end, self.rest = self.rest[:size], self.rest[size : size + 2], self.rest[size + 2 :]
            assert end == b"\r\n"
            if size == 0:
                return
            yield now, data

    def read(self, head=False):
        status, headers = self.read_head()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(data for _, data in self.chunks())
        else:
            length = 0 if head or status in (204, 304) else int(headers["content-length"])
            while len(self.rest) < length:
                self.rest += self.more()
            body, self.rest = self.rest[:length], self.rest[length:]
        return Reply(status, headers, body)


def call(server, method, path, body=None, headers=None):
    with Connection(server) as c:
        c.send(method, path, body, headers)
        return c.read(head=method == "HEAD")


def get(server, path, headers=None):
    return call(server, "GET", path, None, headers)


def post(server, path, body, headers=None):
    return call(server, "POST", path, body, headers)


def raw(server, data):
    """Sends bytes as they are and returns everything until the server closes."""
    with Connection(server) as c:
        c.socket.sendall(data)
        received = b""
        try:
            while piece := c.socket.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received


def complete(server, messages=HELLO, **fields):
    """Returns the answer of /v1/chat/completions as a document."""
    reply = post(server, CHAT, {"messages": messages, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def answer(server, messages=HELLO, **fields):
    return complete(server, messages, **fields)["choices"][0]["message"]["content"]


def counts(usage):
    """Returns the reproducible figures of usage; the number of cached tokens may differ."""
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


class TooLate(AssertionError):
    """The deadline passed before the stream began."""


def read_head_of_stream(c):
    """Returns the status and the headers; TooLate for a 504."""
    status, headers = c.read_head()
    if status == 504:
        raise TooLate(c.rest)
    assert status == 200, c.rest
    return status, headers


def late_in_prefill(ask):
    """ask(headers) -> a stream of a long prompt. Returns it for the shortest deadline within which it
    begins, since that time depends on the machine; and the number of requests."""
    for n, milliseconds in enumerate((5, 10, 20, 40, 80, 160, 320, 640), 1):
        with contextlib.suppress(TooLate):
            return ask({"X-Deadline-Ms": str(milliseconds)}), n
    raise AssertionError("it never begins")


class Stream:
    """An event stream, read to its end: .events (time, data), .comments, .chunks (parsed data)."""

    def __init__(self, server, path, body, headers=None, method="POST"):
        with Connection(server) as c:
            self.began = time.monotonic()
            c.send(method, path, body, headers)
            self.status, self.headers = read_head_of_stream(c)
            self.head_time = time.monotonic()
            self.pieces = list(c.chunks())
            self.after = c.rest
        self.raw = b"".join(data for _, data in self.pieces)
        self.parse()

    def parse(self):
        self.events, self.comments = [], []
        lines, event = [], None
        for at, data in self.pieces:
            data.decode("utf-8")  # each chunk is valid on its own
            lines += [(at, line) for line in data.decode().split("\n")[:-1]]
            assert data.endswith(b"\n")
        for at, line in lines:
            if line.startswith(":"):
                self.comments.append((at, line[1:].strip()))
            elif line.startswith("data: "):
                assert event is None
                event = (at, line[6:])
            else:
                # a blank line ends an event; a blank line without data breaks some clients
                assert line == "" and event is not None, line
                self.events.append(event)
                event = None
        assert event is None
        assert self.events[-1][1] == "[DONE]"
        self.chunks = [json.loads(data) for _, data in self.events[:-1]]

    def texts(self, index=0):
        """Returns (time, text) pairs of a choice of an OpenAI stream, or of a native stream."""
        found = []
        for (at, _), chunk in zip(self.events, self.chunks):
            if "text" in chunk:
                found.append((at, chunk["text"]))
            for choice in chunk.get("choices", ()):
                if choice["index"] == index and choice["delta"].get("content"):
                    found.append((at, choice["delta"]["content"]))
        return found

    def text(self, index=0):
        return "".join(text for _, text in self.texts(index))

    def finish_reason(self, index=0):
        reasons = [
            choice["finish_reason"]
            for chunk in self.chunks
            for choice in chunk["choices"]
            if choice["index"] == index and choice["finish_reason"] is not None
        ]
        assert len(reasons) == 1
        return reasons[0]


def stream(server, messages=HELLO, **fields):
    return Stream(server, CHAT, {"messages": messages, "stream": True, **fields})


def health(server, key=None):
    """Returns the whole /health; a server with keys requires one for that."""
    return get(server, "/health", {"x-api-key": key} if key else None).json()


PATIENCE = 60  # seconds: guards against hanging, measures nothing
SOON = 20  # for what the time-outs of the server, 30 s and more, would free, too


def expect_end(server, ended, what):
    """Checks that cancelled work ends within one step of the engine: at most the step that runs when the
    disconnect is noticed is completed. A request sent after a disconnect is read after the disconnect
    was noticed, so steps are counted from then on. Then the server may go on with greetings that it
    computes ahead: each of these steps has at least one token."""
    before = health(server)["statistics"]
    wait_until(ended, what)
    after = health(server)["statistics"]
    steps = after["steps"] - before["steps"] - (after["tokens"]["warm"] - before["tokens"]["warm"])
    assert steps <= 1, f"{steps} steps were computed for a client that has disconnected"


def wait_until(condition, what, seconds=PATIENCE):
    """Waits until condition() is true; returns the time that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.005)
    return time.monotonic() - began

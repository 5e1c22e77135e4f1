"""Reads streams whose events have names, as those of the Responses and Messages APIs."""

import json

from api_client import Connection, Reply, read_head_of_stream


class NamedEvents:
    """A stream, read to its end: .events (name, data), .comments. Checks the framing."""

    def __init__(self, server, path, body, headers=None):
        with Connection(server) as c:
            c.send("POST", path, body, headers)
            _, self.headers = read_head_of_stream(c)
            self.raw = b"".join(data for _, data in c.chunks()).decode("utf-8")
        assert self.headers["content-type"].startswith("text/event-stream")
        self.events, self.comments = [], []
        name = data = None
        for line in self.raw.split("\n")[:-1]:
            if line.startswith(":"):
                self.comments.append(line[1:].strip())
            elif line.startswith("event: "):
                assert name is None and data is None
                name = line[7:]
            elif line.startswith("data: "):
                assert name is not None and data is None
                data = json.loads(line[6:])
            else:
                assert line == "" and data is not None, line
                assert data["type"] == name  # each dialect repeats it
                self.events.append((name, data))
                name = data = None
        assert name is None and data is None

    @property
    def names(self):
        """The names of the events, of several equal ones in a row one, without pings."""
        names = [name for name, _ in self.events if name != "ping"]
        return [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]]

    def of(self, name):
        return [data for n, data in self.events if n == name]


def refused(reply: Reply, status, *words):
    """Checks an error of OpenAI's shape, and that its text has these words; returns it."""
    assert reply.status == status, reply.body
    for word in words:
        assert word in reply.error["message"], reply.error
    return reply.error

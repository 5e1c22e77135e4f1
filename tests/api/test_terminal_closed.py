"""A server that was started in a terminal ends with it, unless it was told to stay (nohup). Real
pseudo-terminals, with a real shell in them, which are closed as a window is."""

import os
import pty
import re
import shlex
import signal
import socket
import types

import pytest
from api_client import CHAT, Connection, get, health, wait_until

SOON = 60  # seconds, for what takes some milliseconds


def is_alive(pid):
    """Not ended, and no zombie either."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, directory):
        self.shell, self.master = pty.fork()
        if self.shell == 0:
            os.chdir(directory)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the test run may be under nohup itself
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        os.set_blocking(self.master, False)
        self.text = ""
        self.servers = []

    def has(self, pattern):
        try:
            self.text += os.read(self.master, 65536).decode(errors="replace")
        except BlockingIOError:
            pass
        return re.search(pattern, self.text)

    def say(self, line):
        os.write(self.master, line.encode() + b"\n")

    def serve(self, before, after, kinglet, model, port):
        """Types the command and waits until the server is ready; its process id."""
        command = [str(kinglet), "serve", "--offline", "--model", str(model), "--port", str(port)]
        self.say(f"{before}{shlex.join(command)}{after}")
        server = types.SimpleNamespace(port=port)

        def is_ready():
            self.has("x")  # what it writes is taken, or it would wait
            try:
                return get(server, "/ready").status == 200
            except (OSError, EOFError):
                return False

        wait_until(is_ready, SOON, "it is not ready")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if words[0] == os.fsencode(kinglet) and str(port).encode() in words:
                server.pid = int(pid)
        self.servers.append(server)
        return server

    def close(self):
        """As the window's cross does: nobody holds the master any more."""
        if self.master is not None:
            os.close(self.master)
        self.master = None

    def wait(self):
        """Until the shell, which leaves with its terminal, is gone."""
        if self.shell is not None:
            wait_until(lambda: os.waitpid(self.shell, os.WNOHANG)[0] != 0, SOON, "the shell stays")
        self.shell = None

    def end(self):
        self.close()
        self.wait()
        for server in self.servers:
            if is_alive(server.pid):
                os.kill(server.pid, signal.SIGTERM)
                wait_until(lambda: not is_alive(server.pid), SOON, "SIGTERM does not end it")


@pytest.fixture
def terminal(tmp_path):
    t = Terminal(tmp_path)
    yield t
    t.end()


@pytest.fixture
def start(terminal, kinglet, tiny_model_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return lambda before, after: terminal.serve(before, after, kinglet, tiny_model_path, port)


@pytest.mark.parametrize("before, after", [("", " &"), ("", "")], ids=["background", "foreground"])
def test_it_ends_with_its_terminal(terminal, start, endless, before, after):
    """In order: an answer that runs is written to its end."""
    server = start(before, after)
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        assert c.read_head()[0] == 200
        chunks = c.chunks()
        next(chunks)
        terminal.close()
        assert b"".join(data for _, data in chunks).endswith(b"data: [DONE]\n\n")
    wait_until(lambda: not is_alive(server.pid), SOON, "it stays without its terminal")


@pytest.mark.parametrize(
    "before, after",
    [("nohup ", " &"), ("nohup ", " 2> log &"), ("trap '' HUP; ", " &"), ("", " 2> log &")],
    ids=["nohup", "nohup-log", "ignored", "log"],
)
def test_it_stays_where_it_was_told_to(terminal, start, before, after):
    server = start(before, after)
    terminal.close()
    terminal.wait()
    for _ in range(3):  # the signal of the terminal, and later ones of people
        assert health(server)["status"] == "ok"
        os.kill(server.pid, signal.SIGHUP)
    assert health(server)["status"] == "ok"


def test_a_signal_alone_reads_again(terminal, start):
    server = start("", " &")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: terminal.has("SIGHUP: read again"), SOON, "it does not read again")
    assert health(server)["status"] == "ok"

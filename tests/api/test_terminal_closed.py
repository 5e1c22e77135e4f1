"""A server that was started in a terminal ends with it, unless started to outlive it (nohup). Uses
pseudo-terminals with a real shell, which are closed like a window."""

import os
import pty
import re
import shlex
import signal
import socket
import types

import pytest
from api_client import CHAT, Connection, get, health, wait_until



def is_alive(pid):
    """Returns whether the process runs and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Terminal:
    """A shell in its own terminal."""

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
        """Types the command and waits until the server is ready; returns its process id."""
        command = [str(kinglet), "serve", "--offline", "--model", str(model), "--port", str(port)]
        self.say(f"{before}{shlex.join(command)}{after}")
        server = types.SimpleNamespace(port=port)

        def is_ready():
            self.has("x")  # its output is read, or it would block
            try:
                return get(server, "/ready").status == 200
            except (OSError, EOFError):
                return False

        wait_until(is_ready, "it is not ready")
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
        """Closes the master, like closing a window."""
        if self.master is not None:
            os.close(self.master)
        self.master = None

    def wait(self):
        """Waits until the shell, which ends with its terminal, is gone."""
        if self.shell is not None:
            wait_until(lambda: os.waitpid(self.shell, os.WNOHANG)[0] != 0, "the shell stays")
        self.shell = None

    def end(self):
        self.close()
        self.wait()
        for server in self.servers:
            if is_alive(server.pid):
                os.kill(server.pid, signal.SIGTERM)
                wait_until(lambda: not is_alive(server.pid), "SIGTERM does not end it")


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
def test_the_server_ends_with_its_terminal(terminal, start, endless, before, after):
    """The server drains: a running answer is completed."""
    server = start(before, after)
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        assert c.read_head()[0] == 200
        chunks = c.chunks()
        next(chunks)
        terminal.close()
        assert b"".join(data for _, data in chunks).endswith(b"data: [DONE]\n\n")
    wait_until(lambda: not is_alive(server.pid), "it stays without its terminal")


@pytest.mark.parametrize(
    "before, after",
    [("nohup ", " &"), ("nohup ", " 2> log &"), ("trap '' HUP; ", " &"), ("", " 2> log &")],
    ids=["nohup", "nohup-log", "ignored", "log"],
)
def test_the_server_outlives_its_terminal_if_told_to(terminal, start, before, after):
    server = start(before, after)
    terminal.close()
    terminal.wait()
    for _ in range(3):  # the signal of the terminal, and later ones of users
        assert health(server)["status"] == "ok"
        os.kill(server.pid, signal.SIGHUP)
    assert health(server)["status"] == "ok"


def test_sighup_without_a_closed_terminal_reloads(terminal, start):
    server = start("", " &")
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: terminal.has("SIGHUP: read again"), "it does not read again")
    assert health(server)["status"] == "ok"

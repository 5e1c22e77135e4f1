"""kinglet under a simulated service manager: readiness, watchdog, sockets, reload; and its behaviour
when files are removed under it."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from api_client import CHAT, HELLO, PATIENCE, Connection, Stream, answer, get, health, post, wait_until


class Notifications:
    """Collects the lines that the server sends to $NOTIFY_SOCKET, read at once like by a service manager."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.seen = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        while message := self.socket.recv(4096):
            self.seen += message.decode().split("\n")

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.path)
        self.reader.join()
        self.socket.close()

    def has(self, line):
        return any(s.startswith(line) for s in list(self.seen))

    def clear(self):
        self.seen.clear()


@pytest.fixture
def notifications(tmp_path):
    n = Notifications(tmp_path / "notify")
    yield n
    n.close()


def test_a_model_name_cannot_inject_variables(start_server, notifications, tiny_model_path, tmp_path):
    model = tmp_path / "a\nMAINPID=1\x1b.gguf"
    model.symlink_to(tiny_model_path)
    start_server("--offline", model=model, env={"NOTIFY_SOCKET": notifications.path})
    wait_until(lambda: notifications.has("STATUS=Serving"), "it does not say what it serves")
    assert notifications.has("STATUS=Serving a\N{REPLACEMENT CHARACTER}MAINPID=1\N{REPLACEMENT CHARACTER}")
    assert not notifications.has("MAINPID")


def test_notifications(start_server, notifications):
    server = start_server("--offline", env={"NOTIFY_SOCKET": notifications.path})
    wait_until(lambda: notifications.has("READY=1"), "it does not say that it is ready")
    assert notifications.has("STATUS=Loading the model")
    assert notifications.has("EXTEND_TIMEOUT_USEC=")
    assert not notifications.has("WATCHDOG=1")  # no watchdog was requested
    assert not notifications.has("STOPPING=1")
    notifications.clear()
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: notifications.has("RELOADING=1"), "it does not say that it reloads")
    wait_until(lambda: notifications.has("READY=1"), "it is not ready again")
    assert notifications.has("RELOADING=1") and notifications.has("MONOTONIC_USEC=")
    server.process.terminate()
    wait_until(lambda: notifications.has("STOPPING=1"), "it does not say that it stops")
    assert server.process.wait(PATIENCE) == 0


def test_not_ready_while_loading(hold_server, notifications, monkeypatch, tiny_model_path):
    monkeypatch.setenv("NOTIFY_SOCKET", notifications.path)
    held = hold_server()
    reply = get(held.server, "/ready")
    assert reply.status == 503 and reply.json() == {"status": "loading"}
    assert int(reply.headers["retry-after"]) > 0
    assert get(held.server, "/live").json() == {"status": "live"}
    wait_until(lambda: notifications.has("EXTEND_TIMEOUT_USEC="), "it does not ask for time")
    assert not notifications.has("READY=1")


def test_ready(tiny):
    reply = get(tiny, "/ready")
    assert reply.status == 200 and reply.json() == {"status": "ready"}


# ---- watchdog -------------------------------------------------------------------------------------

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


class Frozen:
    """Stops all threads of a process except the first."""

    def __init__(self, pid):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.threads = [int(t) for t in os.listdir(f"/proc/{pid}/task") if int(t) != pid]

    def ptrace(self, request, thread):
        if self.libc.ptrace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def __enter__(self):
        for t in self.threads:
            self.ptrace(PTRACE_SEIZE, t)
            self.ptrace(PTRACE_INTERRUPT, t)
            os.waitpid(t, 0x40000000)  # __WALL: the thread has stopped now

    def __exit__(self, *exc):
        for t in self.threads:
            self.ptrace(PTRACE_DETACH, t)


def fed(notifications, seconds):
    """Returns whether the watchdog is notified within this time."""
    notifications.clear()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if notifications.has("WATCHDOG=1"):
            return True
        time.sleep(0.01)
    return False


def test_the_watchdog(start_server, notifications, endless):
    env = {"NOTIFY_SOCKET": notifications.path, "WATCHDOG_USEC": "1000000"}
    server = start_server("--offline", env=env)
    assert fed(notifications, PATIENCE)  # while idle
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1, "n": 4})
        c.read_head()
        assert fed(notifications, PATIENCE)  # while a request is answered
        with Frozen(server.pid):
            time.sleep(1)
            # the loop runs, but nothing is computed
            assert not fed(notifications, 2)
        server.log_with("the engine makes no progress")  # the thread of the log was stopped as well
        assert fed(notifications, PATIENCE)


def test_a_client_that_does_not_read_does_not_stop_the_watchdog(start_server, notifications, endless):
    env = {"NOTIFY_SOCKET": notifications.path, "WATCHDOG_USEC": "400000"}
    server = start_server("--offline", "--reader-timeout", 60, env=env)
    with Connection(server, receive_buffer=4096) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1, "n": 4})
        count = [-1]

        def stands_still():
            before, count[0] = count[0], health(server)["answer_tokens"]
            time.sleep(0.3)
            return before == count[0] > 0

        wait_until(stands_still, "it is never held back")
        assert health(server)["running"] == 4
        for _ in range(3):
            assert fed(notifications, PATIENCE)
    assert "makes no progress" not in server.log_text()


def test_a_service_manager_that_does_not_read(start_server, tmp_path):
    """The server does not wait when its messages exceed the buffer of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        env = {"NOTIFY_SOCKET": str(tmp_path / "deaf"), "WATCHDOG_USEC": "4000"}
        server = start_server("--offline", env=env)
        time.sleep(1)  # 1000 messages
        assert get(server, "/live").status == 200
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0


def test_variables_for_another_process_are_ignored(start_server, notifications):
    env = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_PID": "1", "WATCHDOG_USEC": "4000"}
    server = start_server("--offline", env={**env, "NOTIFY_SOCKET": notifications.path})
    assert get(server, "/live").status == 200
    wait_until(lambda: notifications.has("READY=1"), "it does not say that it is ready")
    assert not notifications.has("WATCHDOG=1")


# ---- socket activation ----------------------------------------------------------------------------

HAND_OVER = 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'


class Activated:
    """A server on a listening socket that the test passes to it."""

    def __init__(self, kinglet, model, listener, log, *options):
        command = ["sh", "-c", HAND_OVER, "sh", str(kinglet), "serve"]
        command += ["--model", str(model), "--offline", *options]
        self.port = listener.getsockname()[1]
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=listener, stdout=out, stderr=out)
        self.pid = self.process.pid


@pytest.fixture
def activate(kinglet, tiny_model_path, tmp_path):
    """activate(listener, *options) -> Activated, ended with the test."""
    servers = []

    def start(listener, *options):
        log = tmp_path / f"server{len(servers)}.log"
        servers.append(Activated(kinglet, tiny_model_path, listener, log, *options))
        return servers[-1]

    yield start
    for s in servers:
        if s.process.poll() is None:
            s.process.terminate()
        assert s.process.wait(60) == 0, s.log.read_text()
        assert "Sanitizer" not in s.log.read_text()


@pytest.fixture
def listener():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(512)
    yield s
    s.close()


def test_a_restart_under_load_fails_no_request(activate, listener, endless):
    """The next process starts before this one ends or, as with systemd, after it; then new connections
    wait in the socket's backlog."""
    old = activate(listener)
    expected = answer(old, endless, max_tokens=40)  # connections wait in the backlog while it starts
    failures, n_done, stop = [], [0], threading.Event()

    def ask(stream):
        while not stop.is_set():
            try:
                body = {"messages": endless, "max_tokens": 40, "stream": stream}
                if stream:
                    text = Stream(old, CHAT, body).text()
                else:
                    text = post(old, CHAT, body).json()["choices"][0]["message"]["content"]
                if text != expected:
                    failures.append(text)
            except (AssertionError, OSError, EOFError, KeyError) as e:
                failures.append(repr(e))
            n_done[0] += 1

    threads = [threading.Thread(target=ask, args=(i % 2 == 0,)) for i in range(6)]
    for t in threads:
        t.start()
    try:
        for side_by_side in (True, False, False):
            before = n_done[0]
            wait_until(lambda: n_done[0] >= before + 20, "it does not answer", seconds=240)
            new = activate(listener) if side_by_side else None
            old.process.terminate()
            assert old.process.wait(60) == 0, old.log.read_text()
            assert "Sanitizer" not in old.log.read_text()
            old = new or activate(listener)
        before = n_done[0]
        wait_until(lambda: n_done[0] >= before + 20, "it does not answer", seconds=240)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert failures == []


def test_idle_connections_are_closed_for_the_next_process(activate, listener):
    server = activate(listener)
    with Connection(server) as used:
        used.send("GET", "/live")
        assert used.read().status == 200
        server.process.terminate()
        assert used.socket.recv(1) == b""
        assert server.process.wait(60) == 0


def test_a_further_address_ends_with_the_process(activate, listener, endless):
    """No other process accepts there, so no client must wait in its backlog."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = activate(listener, "--also-listen", f"127.0.0.1:{port}")

    def is_open():
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            return True
        except ConnectionRefusedError:
            return False

    with Connection(server) as busy:
        busy.send("POST", CHAT, {"messages": endless, "max_tokens": -1, "stream": True})
        assert busy.read_head()[0] == 200
        assert is_open()
        server.process.terminate()
        wait_until(lambda: not is_open(), "the address is still open")
        socket.create_connection(listener.getsockname(), PATIENCE).close()  # the handed-over one stays
    assert server.process.wait(60) == 0  # a further signal could meet it when it handles none any more


def test_a_descriptor_that_is_not_a_socket(kinglet, tiny_model_path, tmp_path):
    with socket.socket() as unbound:
        server = Activated(kinglet, tiny_model_path, unbound, tmp_path / "log")
        assert server.process.wait(PATIENCE) == 2
    assert "does not listen on TCP" in (tmp_path / "log").read_text()


def test_a_public_socket_needs_keys_too(kinglet, tiny_model_path, tmp_path):
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        server = Activated(kinglet, tiny_model_path, s, tmp_path / "log")
        assert server.process.wait(PATIENCE) == 2
    assert "refusing to listen on 0.0.0.0 without API keys" in (tmp_path / "log").read_text()


# ---- reload ---------------------------------------------------------------------------------------


def test_reload(start_server, endless, tmp_path):
    """Keys and log level change; a running stream is not affected."""
    keys, level = tmp_path / "keys", tmp_path / "level"
    keys.write_text("first-key\n")
    keys.chmod(0o600)
    level.write_text("warning\n")
    server = start_server("--offline", "--api-key-file", keys, "--log-level", level)

    def status(key):
        return get(server, "/v1/models", {"Authorization": f"Bearer {key}"}).status

    assert (status("first-key"), status("second-key")) == (200, 401)
    with Connection(server) as c:
        body = {"messages": endless, "stream": True, "max_tokens": -1}
        c.send("POST", CHAT, body, {"Authorization": "Bearer first-key"})
        c.read_head()
        chunks = c.chunks()
        next(chunks)
        keys.write_text("second-key\n")
        level.write_text("info\n")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: status("second-key") == 200, "the new key is not known")
        assert status("first-key") == 401
        assert b"".join(data for _, data in chunks).endswith(b"data: [DONE]\n\n")
    server.log_with("SIGHUP: read again")

    keys.write_text("short\n")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the settings are unchanged" in server.log_text(), "nothing is said")
    assert status("second-key") == 200


def test_log_level_file(run_kinglet, tmp_path):
    done = run_kinglet("chat", "--log-level", tmp_path / "none", "x", check=False)
    assert done.returncode == 1 and b"--log-level: cannot open" in done.stderr
    (tmp_path / "level").write_text("loud")
    done = run_kinglet("chat", "--log-level", tmp_path / "level", "x", check=False)
    assert done.returncode == 2 and b'--log-level takes' in done.stderr and b'"loud"' in done.stderr


# ---- truncated model files ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gguf", ".packed", ".tokenizer"])
def test_a_truncated_file(start_server, tiny_model_path, tmp_path, suffix):
    """The file is read by the engine's thread, by all threads of the pool, and by the server's."""
    shutil.copy(tiny_model_path, tmp_path / "copy.gguf")
    # ThreadSanitizer would report that its threads are not joined, and exit with its own code
    sanitizer = os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0"
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TSAN_OPTIONS": sanitizer}
    server = start_server("--offline", "--threads", 2, model=tmp_path / "copy.gguf", env=env)
    assert post(server, CHAT, {"messages": HELLO, "max_tokens": 1}).status == 200
    (file,) = tmp_path.rglob("*" + suffix)
    os.truncate(file, 0)
    with pytest.raises((OSError, EOFError)):
        post(server, "/chat", {"prompt": "something else", "max_new_tokens": 100})
    assert server.process.wait(PATIENCE) == 4
    said = [line for line in server.log_text().splitlines() if "was truncated" in line]
    assert len(said) == 1 and str(file) in said[0]


def test_other_bus_errors_are_not_explained_away(start_server):
    server = start_server("--offline")
    server.process.send_signal(signal.SIGBUS)
    assert server.process.wait(PATIENCE) == -signal.SIGBUS
    assert "truncated" not in server.log_text()

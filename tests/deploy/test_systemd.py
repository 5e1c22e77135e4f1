"""deploy/kinglet.service and deploy/kinglet.socket agree with the program, and start it by systemd's own
program for socket activation. (In tests/release, systemd verifies them; restarts under load are in
tests/api/test_service.py.)"""

import os
import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from api_client import CHAT, HELLO, get, post, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1:7860"
CREDENTIAL = "/run/credentials/kinglet.service/keys"


def read_unit(path):
    """Returns {section: {name: [value, ...]}}; names may occur more than once."""
    found = {}
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, value = line.split("=", 1)
            section.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="session")
def service(build_dir):
    return read_unit(build_dir / "deploy" / "kinglet.service")["Service"]


@pytest.fixture(scope="session")
def listen_stream():
    (address,) = read_unit(REPOSITORY / "deploy" / "kinglet.socket")["Socket"]["ListenStream"]
    return address


@pytest.fixture(scope="session")
def serve_help(run_kinglet):
    return " ".join(run_kinglet("serve", "--help").stdout.decode().split())


def default_of(option, text):
    """Returns the default of an option in --help."""
    return re.search(rf"--{option} .*?\(default ([^)]+)\)", text)[1]


@pytest.fixture(scope="session")
def house_options():
    """The options that /etc/default/kinglet suggests for the house."""
    text = (REPOSITORY / "deploy" / "debian" / "default").read_text()
    return shlex.split(re.search(r"^#KINGLET_OPTIONS=(.*)$", text, re.M)[1])


def test_socket_and_program_have_the_same_address(listen_stream, serve_help):
    host, port = default_of("host", serve_help), default_of("port", serve_help)
    assert listen_stream == f"{host}:{port}" == ADDRESS


def test_answers_have_the_time_to_end(service, serve_help):
    (seconds,) = service["TimeoutStopSec"]
    assert int(seconds) >= int(default_of("drain-seconds", serve_help)) + 5


def test_no_restart_after_a_wrong_option(service, run_kinglet):
    (status,) = service["RestartPreventExitStatus"]
    done = run_kinglet("serve", "--no-such-option", check=False)
    assert done.returncode == int(status)


class SocketActivated:
    """The unit's command with these options, on a socket held by systemd's program."""

    def __init__(self, service, options, kinglet, model, log):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        program, *arguments = shlex.split(service["ExecStart"][0])
        assert program == "/usr/local/bin/kinglet" and arguments[-1] == "$KINGLET_OPTIONS"
        command = ["systemd-socket-activate", f"--listen=127.0.0.1:{self.port}"]
        cache = os.environ.get("XDG_CACHE_HOME", "")
        command += [f"--setenv=KINGLET_MODEL={model}", f"--setenv=XDG_CACHE_HOME={cache}"]
        command += [str(kinglet), *arguments[:-1], *options]
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def runs(self):
        """Returns the name of the program that the process runs."""
        return os.path.basename(os.readlink(f"/proc/{self.process.pid}/exe"))


def test_the_first_connection_starts_the_program(service, house_options, kinglet, tiny_model_path, tmp_path):
    """With the options suggested for the house; the socket is used instead of --host and port 7860."""
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-the-house\n")
    keys.chmod(0o600)
    assert service["LoadCredential"] == ["keys:/etc/kinglet/keys"] and CREDENTIAL in house_options
    options = [str(keys) if o == CREDENTIAL else o for o in house_options]
    server = SocketActivated(service, options, kinglet, tiny_model_path, tmp_path / "log")
    try:
        wait_until(lambda: "Listening on" in server.log.read_text(), "it does not listen")
        assert server.runs() == "systemd-socket-activate"
        body = {"messages": HELLO, "max_tokens": 4}
        reply = post(server, CHAT, body, {"Authorization": "Bearer a-key-of-the-house"})
        assert reply.status == 200, reply.body  # the request waited for the program and the model
        assert server.runs() == "kinglet"
        assert post(server, CHAT, body).status == 401
        assert get(server, "/ready").status == 200
    finally:
        server.process.terminate()
        code = server.process.wait(60)
    assert code == 0, server.log.read_text()

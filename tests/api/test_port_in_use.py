"""The error for a port in use names the program and the process, as far as the system shows them."""

import errno
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def program_of_all(kinglet, tmp_path_factory):
    """A copy of the program that every user may run."""
    directory = tmp_path_factory.mktemp("program")
    for parent in (directory, *directory.parents[:2]):
        os.chmod(parent, 0o755)
    return shutil.copy(kinglet, directory / "kinglet")


def refusal(program, port, host="127.0.0.1", user=None):
    done = subprocess.run(
        [str(program), "serve", "--offline", "--no-auth", "--host", host, "--port", str(port)],
        capture_output=True,
        timeout=60,
        **({"user": user, "group": user, "extra_groups": [], "cwd": "/"} if user else {}),
    )
    assert done.returncode == 1
    (line,) = [x for x in done.stderr.decode().splitlines() if x.startswith("kinglet serve: ")]
    assert line.startswith(f"kinglet serve: {host} port {port} is in use by another ")
    assert line.endswith("choose another port with --port")
    return line


def listener(address, family=socket.AF_INET):
    s = socket.socket(family)
    s.bind((address, 0))
    s.listen()
    return s


def free_listener_on_loopback(port):
    """Listens on this port of an address of the loopback network, other than the first, where it is free."""
    for last in range(2, 250):
        try:
            return socket.create_server((f"127.0.0.{last}", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError(f"port {port} is in use on all addresses")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_another_kinglet(tiny, kinglet, host):
    line = refusal(kinglet, tiny.port, host)
    assert f"another kinglet, process {tiny.pid}: use that one, stop it ('kill {tiny.pid}')" in line


@pytest.mark.parametrize(
    "address, family, host",
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("0.0.0.0", socket.AF_INET, "127.0.0.1"),
        ("::", socket.AF_INET6, "127.0.0.1"),
        ("::", socket.AF_INET6, "::1"),
        ("::1", socket.AF_INET6, "::"),
        ("::1", socket.AF_INET6, "::1"),
    ],
)
def test_another_program(kinglet, address, family, host):
    with listener(address, family) as s:
        line = refusal(kinglet, s.getsockname()[1], host)
    with open("/proc/self/comm", encoding="ascii") as f:
        assert f", {f.read().strip()} (process {os.getpid()}): stop that one" in line


def test_the_same_port_of_another_address_is_not_blamed(kinglet):
    """Another program listens on the same port of another address, which does not conflict."""
    with subprocess.Popen(["python3", "-c", "import socket, sys\n"
                           "s = socket.create_server(('127.0.0.1', 0))\n"
                           "print(s.getsockname()[1], flush=True); sys.stdin.read()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # fmt: skip
        port = int(holder.stdout.readline())
        with free_listener_on_loopback(port):
            line = refusal(kinglet, port)
        holder.stdin.close()
    assert f"(process {holder.pid})" in line


def test_another_user_sees_less(program_of_all, tiny):
    """Another user sees the owner of the socket, not the process; the error suggests that user's kinglet."""
    with listener("127.0.0.1") as s:
        line = refusal(program_of_all, s.getsockname()[1], user=65534)
    assert re.search(r"another (program, of the user root \(0\): 'sudo ss -ltnp'|kinglet, as it seems)", line)
    line = refusal(program_of_all, tiny.port, user=65534)
    assert re.search(r"another kinglet, as it seems process \d+: use that one, stop it \('sudo kill", line)


def test_a_bound_socket_that_does_not_listen(kinglet):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        line = refusal(kinglet, s.getsockname()[1])
    assert "another program: 'sudo ss -ltnp' shows which; stop that one" in line


def test_the_name_of_a_program_is_one_line(kinglet, tmp_path):
    program = os.fsencode(tmp_path) + b"/a\x1b[\xff\n"
    os.symlink(os.path.realpath(sys.executable), program)
    code = ("import socket, sys\ns = socket.create_server(('127.0.0.1', 0))\n"
            "print(s.getsockname()[1], flush=True); sys.stdin.read()")  # fmt: skip
    with subprocess.Popen([program, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        line = refusal(kinglet, int(holder.stdout.readline()))
        holder.stdin.close()
    assert f"(process {holder.pid}): stop that one" in line
    assert line.isprintable()

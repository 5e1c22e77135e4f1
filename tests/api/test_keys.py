"""`kinglet key`, and what belongs to the name of a key: files of keys, the code that a phone reads, servers
that read the file again."""

import fcntl
import hashlib
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zxingcpp
from api_client import get, post, wait_until
from event_client import refused

ADDRESS = re.compile(r"(http://\S+)/#key=([0-9a-hjkmnp-tv-z]{26})\n")
HALVES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def key(run_kinglet, keys):
    """key(*args) -> (exit code, standard output, standard error) of kinglet key with the file."""

    def run(*args, file=keys):
        done = run_kinglet("key", *args, "--file", file, check=False, env={"container": ""})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def add(key, name, *args):
    """Returns the new key."""
    code, out, said = key("add", name, "--url", "http://box.lan:7860", *args)
    assert code == 0, said
    return ADDRESS.match(out)[2]


def scanned(text):
    """Returns the text that a phone reads from a code as kinglet prints it."""
    rows = [line for line in text.splitlines() if line and not line.strip(" ▀▄█")]
    assert len({len(row) for row in rows}) == 1
    light = [[HALVES[c][half] for c in row] for row in rows for half in (0, 1)]
    picture = np.kron(np.array(light, np.uint8) * 255, np.ones((6, 6), np.uint8))
    (code,) = zxingcpp.read_barcodes(picture)
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    return code.text


def fingerprint(key):
    return hashlib.sha256(key.encode()).hexdigest()[:8]


# ---- the command ---------------------------------------------------------------------------------


def test_add_list_remove(key, keys):
    code, out, said = key("add", "anna", "--url", "http://box.lan:7860/")
    url, first = ADDRESS.fullmatch(out).groups()
    assert code == 0 and url == "http://box.lan:7860"
    assert keys.read_text() == f"{first} anna\n" and keys.stat().st_mode & 0o777 == 0o600
    assert "SIGHUP" in said and f"--api-key-file {keys}" in said and first not in said
    second, bob = add(key, "anna"), add(key, "Bob's 手机")
    assert len({first, second, bob}) == 3
    code, out, said = key("list")
    assert code == 0 and said == ""
    assert [line.split(maxsplit=1) for line in out.splitlines()[1:]] == [
        [fingerprint(first), "anna"], [fingerprint(second), "anna"], [fingerprint(bob), "Bob's 手机"],
    ]  # fmt: skip
    assert not any(k in out for k in (first, second, bob))

    assert key("remove", fingerprint(first))[0] == 0  # the old key of a name that has a new one
    assert keys.read_text() == f"{second} anna\n{bob} Bob's 手机\n"
    code, out, said = key("remove", "ana")
    assert code == 1 and out == "" and "did you mean 'anna'?" in said and str(keys) in said
    assert key("remove", "Bob's 手机")[0] == 0
    code, out, said = key("remove", "anna")
    assert code == 0 and "last" in said and keys.read_text() == ""
    code, out, said = key("list")
    assert code == 0 and out.split() == ["FINGERPRINT", "NAME"]


@pytest.mark.parametrize(
    "args, code, said",
    [
        ([], 2, "expected add NAME, list or remove NAME, found nothing"),
        (["add"], 2, "'add' without a name"),
        (["list", "anna"], 2, "'list' and a name"),
        (["show"], 2, "'show'"),
        (["add", "a\tb"], 2, "byte 2"),
        (["add", "n" * 65], 2, "1 to 64 bytes, not 65"),
        (["add", "anna", "--url", "box:7860"], 2, "--url"),
        (["remove", "anna"], 1, "no key with the name or fingerprint 'anna'"),
        (["list"], 1, "cannot open"),
    ],
)
def test_mistakes(key, keys, args, code, said):
    found, out, error = key(*args)
    assert (found, out) == (code, "") and said in error
    assert not keys.exists() and not list(keys.parent.glob("*.tmp"))


def test_a_file_that_cannot_be_written(key, tmp_path):
    code, _, said = key("add", "anna", file=tmp_path / "missing" / "keys")
    assert code == 1 and str(tmp_path / "missing") in said
    code, _, said = key("add", "anna", file=tmp_path)
    assert code == 2 and "is not a file" in said
    (tmp_path / "bad").write_text("a-good-key anna\nshort\n")
    code, _, said = key("add", "bob", file=tmp_path / "bad")
    assert code == 2 and "line 2" in said and "5" in said


def test_many_at_once(key, keys):
    """A change happens as a whole, or is refused; none is lost."""

    def change(n):
        return key("add", f"name{n}")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(change, range(24)))
    made = {ADDRESS.match(out)[2] for code, out, _ in results if code == 0}
    assert made and {line.split()[0] for line in keys.read_text().splitlines()} == made
    assert all("another process is writing" in said for code, _, said in results if code != 0)


# ---- the code ------------------------------------------------------------------------------------


def test_a_phone_reads_the_code(key):
    code, out, said = key("add", "anna", "--qr", "--url", "http://192.168.178.23:7860")
    assert code == 0 and "\033" not in out
    assert scanned(out) == ADDRESS.match(out)[0].strip()
    assert "Scan" in said
    long = "https://" + "a-long-name." * 20 + "example"
    code, out, _ = key("add", "anna", "--qr", "--url", long)
    assert code == 0 and scanned(out).startswith(f"{long}/#key=")


def test_without_the_library(run_kinglet, keys, tmp_path):
    """A release runs where libqrencode is not installed; then there is an address and a remedy."""
    (tmp_path / "libqrencode.so.4").write_text("no library")
    done = run_kinglet("key", "add", "anna", "--qr", "--url", "http://box:7860", "--file", keys,
                       env={"LD_LIBRARY_PATH": str(tmp_path)})  # fmt: skip
    assert ADDRESS.fullmatch(done.stdout.decode())
    assert b"No QR code" in done.stderr and b"apt install libqrencode4" in done.stderr


def on_a_terminal(kinglet, columns, *args):
    """Returns what kinglet key writes on a terminal of this width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen([kinglet, "key", *map(str, args)], stdin=slave, stdout=slave,
                               stderr=slave, env={**os.environ, "container": ""})  # fmt: skip
    os.close(slave)
    said = b""
    try:
        while piece := os.read(master, 65536):
            said += piece
    except OSError:  # its end
        pass
    os.close(master)
    assert process.wait(30) == 0
    return said.decode().replace("\r\n", "\n")


def test_on_a_terminal(kinglet, keys):
    args = ("add", "anna", "--file", keys, "--url", "http://box.lan:7860")
    shown = on_a_terminal(kinglet, 80, *args)
    address = ADDRESS.search(shown)[0].strip()
    assert scanned(re.sub(r"\033\[[0-9;]*m", "", shown)) == address
    assert "\033[38;5;231;48;5;16m█" in shown  # white and black, whatever the terminal's colours are
    narrow = on_a_terminal(kinglet, 40, *args)
    assert "█" not in narrow and "41 columns" in narrow and ADDRESS.search(narrow)


def test_the_address(kinglet, two_computers, keys):
    """It is the first one in a network: on IPv4, else on IPv6; without any there is no code."""
    box, _ = two_computers

    def address():
        command = box.command(kinglet, "key", "add", "anna", "--file", keys, "--qr")
        env = {**os.environ, "container": ""}
        done = subprocess.run(command, check=True, capture_output=True, env=env)
        return ADDRESS.match(done.stdout.decode())[1], done.stdout.count(b"\n"), done.stderr

    found, lines, _ = address()
    assert found == "http://10.77.0.1:7860" and lines > 20
    box.ip("addr", "del", "10.77.0.1/24", "dev", "cable")
    found, lines, _ = address()
    assert found == "http://[fd77::1]:7860" and lines > 20
    box.ip("link", "set", "cable", "down")
    found, lines, said = address()
    assert found == "http://127.0.0.1:7860" and lines == 1
    assert b"No QR code" in said and b"--url" in said


# ---- the server ----------------------------------------------------------------------------------


def test_what_belongs_to_a_name(key, keys, start_server):
    """A kept answer is found with the new key of its name, and with no other one."""
    old, bob = add(key, "anna"), add(key, "bob")
    server = start_server("--offline", "--api-key-file", keys)

    def headers(key):
        return {"Authorization": f"Bearer {key}"}

    def reload():
        read = server.log_text().count("SIGHUP: ")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.log_text().count("SIGHUP: ") > read, "nothing is read")

    body = {"input": "Hello", "max_output_tokens": 4}
    reply = post(server, "/v1/responses", body, headers(old))
    assert reply.status == 200
    path = f"/v1/responses/{reply.json()['id']}"
    refused(get(server, path, headers(bob)), 404)

    new = add(key, "anna")
    assert get(server, path, headers(new)).status == 401
    reload()
    assert get(server, path, headers(new)).json() == reply.json()
    assert key("remove", fingerprint(old))[0] == 0
    assert get(server, path, headers(old)).status == 200  # until the server reads the file again
    reload()
    refused(get(server, path, headers(old)), 401)
    assert get(server, path, headers(new)).json() == reply.json()
    refused(get(server, path, headers(bob)), 404)

    keys.write_text(f"{new}\n{bob} bob\n")  # the key without its name
    reload()
    refused(get(server, path, headers(new)), 404)
    keys.write_text(f"{new} anna\n{bob} anna\n")  # the name's, now of two
    reload()
    assert get(server, path, headers(bob)).json() == reply.json()


def test_a_reload_of_a_bad_file_changes_nothing(key, keys, start_server):
    anna = add(key, "anna")
    server = start_server("--offline", "--api-key-file", keys)
    for text, said in ((f"{anna} an\x1bna\n", "line 1"), (f"{anna} a\n{anna} b\n", "'a' or 'b'"),
                       ("", "has no key")):  # fmt: skip
        keys.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda said=said: said in server.log_text(), "no error is logged")
        assert get(server, "/v1/models", {"x-api-key": anna}).status == 200
    assert anna not in server.log_text() and "\x1b" not in server.log_text()

"""kinglet doctor: its findings on this computer, on servers, and on proxies in front of them."""

import json
import re
import socket
import struct
import threading

import pytest
from api_client import health

GOOD, WARNINGS, BROKEN = 0, 1, 5


@pytest.fixture
def doctor(run_kinglet):
    """doctor(*args) -> (exit code, findings): the findings as objects."""

    def run(*args):
        done = run_kinglet("doctor", "--json", *args, check=False)
        found = json.loads(done.stdout)
        weights = {"good": GOOD, "note": GOOD, "warning": WARNINGS, "broken": BROKEN}
        assert done.returncode == weights[found["status"]]
        for finding in found["findings"]:
            assert set(finding) == {"weight", "area", "text", "cost", "remedy"}
        return done.returncode, found["findings"]

    return run


@pytest.fixture
def reads_gigabytes():
    """Marks tests (see selection.toml) in which doctor measures the computer: minutes under sanitizers."""


def found(findings, part):
    matching = [f for f in findings if part in f["text"]]
    assert matching, f"nothing about {part!r} in {findings}"
    return matching[0]


def pump(source, sink, change, stubborn=False):
    """Copies one socket to another through change(bytes) -> bytes; at the end change(b"") returns the
    bytes that were held back. stubborn: even after the client has left."""
    try:
        while data := source.recv(65536):
            try:
                sink.sendall(change(data))
            except OSError:
                if not stubborn:
                    raise
        if stubborn:
            return
        sink.sendall(change(b""))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Proxy:
    """Forwards connections to a server; replies go through change. stubborn: a disconnect of one side
    is not passed on."""

    def __init__(self, server, make_change, stubborn=False):
        self.server, self.make_change, self.stubborn = server, make_change, stubborn
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self.server.port))
                for pair in ((client, upstream, lambda data: data, self.stubborn),
                             (upstream, client, self.make_change(), self.stubborn)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()
        except OSError:
            pass


@pytest.fixture
def proxy():
    """proxy(server, make_change, stubborn=False) -> Proxy."""
    made = []

    def make(server, make_change, stubborn=False):
        made.append(Proxy(server, make_change, stubborn))
        return made[-1]

    yield make
    for p in made:
        p.listener.close()


def collect():
    """Returns a function that holds back everything until the stream's last bytes."""
    held = bytearray()

    def change(data):
        held.extend(data)
        if data and b"text/event-stream" in held and b"[DONE]" not in held:
            return b""
        out = bytes(held)
        held.clear()
        return out

    return change


def groups():
    """Returns a function that forwards events in groups of 20."""
    held = bytearray()

    def change(data):
        held.extend(data)
        last = not data or b"[DONE]" in held
        if not last and 0 < held.count(b"data: ") < 20:
            return b""
        out = bytes(held)
        held.clear()
        return out

    return change


def test_a_good_server(doctor, server):
    code, findings = doctor("--url", server.base_url + "/v1/")
    assert code == GOOD, findings
    assert "a real stream" in found(findings, "stream")["text"]
    found(findings, "refused with a reason (status 400)")
    found(findings, "characters are whole")
    found(findings, "a question of 400 words")
    found(findings, "the work stops")
    assert health(server)["running"] == 0


def test_a_proxy_that_buffers_everything(doctor, server, proxy):
    code, findings = doctor("--url", proxy(server, collect).url)
    assert code == BROKEN
    lump = found(findings, "not a stream")
    assert lump["weight"] == "broken" and "proxy_buffering off" in lump["remedy"]


def test_a_proxy_that_holds_back(doctor, server, proxy):
    code, findings = doctor("--url", proxy(server, groups).url)
    assert code == WARNINGS, findings
    grouped = found(findings, "held back on the way")
    assert "proxy_buffering off" in grouped["remedy"]


def broken_characters():
    """Returns a function that replaces Chinese characters, like a decoder given half of their bytes."""
    head = b""

    def change(data):
        nonlocal head
        head += data[: 2000 - len(head)]
        if b"text/event-stream" not in head:
            return data
        return re.sub(rb"[\xe4-\xe9][\x80-\xbf]{2}", "\ufffd".encode(), data)

    return change


def test_a_proxy_that_breaks_characters_and_hides_disconnects(doctor, start_server, model_path, proxy):
    server = start_server("--offline", "--drain-seconds", 1, model=model_path)
    code, findings = doctor("--url", proxy(server, broken_characters, stubborn=True).url)
    assert code == BROKEN
    assert "hold the first bytes" in found(findings, "characters break")["remedy"]
    assert "pass the end" in found(findings, "after its client has left")["remedy"]


def test_events_of_another_kind(doctor, server):
    """An address with a query is requested as it is."""
    question = "/chat?prompt=Count%20from%20one%20to%20thirty&max_new_tokens=64"
    code, findings = doctor("--url", server.base_url + question)
    assert code == GOOD
    assert "a real stream" in found(findings, "stream")["text"]
    code, findings = doctor("--url", server.base_url + "/nothing?a=b")
    assert code == BROKEN
    found(findings, "status 404")


def test_a_server_that_wants_a_key(doctor, start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# people\nsecret-key-of-mine\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys)
    code, findings = doctor("--url", server.base_url)
    assert code == BROKEN
    assert "--api-key-file" in found(findings, "status 401")["remedy"]
    assert "--api-key-file" in found(findings, "/health shows the status only")["remedy"]
    code, findings = doctor("--url", server.base_url, "--api-key-file", keys)
    assert code == GOOD, findings
    found(findings, "/health shows all figures")

    keys.write_text("another-key-of-mine\n")
    code, findings = doctor("--url", server.base_url, "--api-key-file", keys)
    assert code == BROKEN
    found(findings, "the server does not know this key")


def test_no_server(doctor):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    code, findings = doctor("--url", f"127.0.0.1:{port}")
    assert code == BROKEN and len(findings) == 1


def test_this_computer(doctor, reads_gigabytes, model_path):
    code, findings = doctor("--measure", "--model", model_path)
    assert code != BROKEN, findings
    areas = {f["area"] for f in findings}
    assert areas >= {"cpu", "memory", "disk", "start", "file", "tokenizer", "template", "speed", "numbers"}
    assert "give the bits of the scalar ones" in found(findings, "kernels give")["text"]
    found(findings, "qwen2.5-coder-0.5b-instruct: has the published bytes")
    found(findings, "the ids of 10 texts are those of Hugging Face's tokenizers")
    found(findings, "chat template qwen2.5, by exact text")
    found(findings, "continues as in the reference (16 greedy tokens)")
    found(findings, "a start with nothing in memory")
    found(findings, "reading them alone takes")
    cache = found(findings, "of it is not in use now")
    assert cache["area"] == "cache"
    assert re.search(r": .*weights \d.*, tokenizer \d", cache["text"])


def test_the_other_model(doctor, reads_gigabytes, smollm_path):
    code, findings = doctor("--measure", "--model", smollm_path)
    assert code != BROKEN, findings
    found(findings, "continues as in the reference (16 greedy tokens)")


def test_a_model_with_a_changed_vocabulary(doctor, reads_gigabytes, smollm_path, tmp_path):
    """Two tokens of its vocabulary are swapped: all checks of the file pass, but it reads other words."""
    other = tmp_path / "model.gguf"
    data = bytearray(smollm_path.read_bytes())
    words = [struct.pack("<Q", len(w)) + w for w in ("Ġwasn".encode(), "Ġsure".encode())]
    first, second = map(data.index, words)  # in the list of tokens, which precedes the merges
    data[first : first + len(words[0])], data[second : second + len(words[1])] = words[1], words[0]
    other.write_bytes(data)
    code, findings = doctor("--measure", "--model", other)
    assert code == BROKEN
    assert "English: not the ids" in found(findings, "not the ids")["text"]
    found(findings, "SHA-256")
    found(findings, "no answer of this file is stored")
    found(findings, "all logits of 8 tokens")


def test_another_tier(doctor, reads_gigabytes, tiny_model_path):
    code, findings = doctor("--measure", "--model", tiny_model_path, "--cpu", "scalar")
    assert code == WARNINGS
    assert "do not set --cpu" in found(findings, "kernels: scalar")["remedy"]


def test_doctor_reports_whether_it_prepared_the_weights(run_kinglet, reads_gigabytes, jumping_clock,
                                               tiny_model_path, tmp_path):  # fmt: skip
    """Files with times in the future are handled, too."""
    env = {**jumping_clock, "KINGLET_CLOCK_BEHIND": "86400", "XDG_CACHE_HOME": str(tmp_path)}
    said = [run_kinglet("doctor", "-m", tiny_model_path, "--measure", "--json", env=env, check=False).stdout
            for _ in range(2)]  # fmt: skip
    assert b"the weights were packed now" in said[0]
    assert b"packed weights exist" in said[1]


def test_no_model(doctor, tmp_path):
    code, findings = doctor("--model", tmp_path / "none.gguf")
    assert code == BROKEN
    found(findings, "none.gguf")


def test_as_text(run_kinglet, reads_gigabytes, tiny_model_path):
    done = run_kinglet("doctor", "--measure", "--model", tiny_model_path, check=False)
    lines = done.stdout.decode().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].endswith(" good") and " to fix, " in lines[-1]

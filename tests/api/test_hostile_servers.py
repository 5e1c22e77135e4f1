"""doctor --url and bench --soak against servers that never end, flood, lie and write escapes: the
commands end in time, use little memory, and report what was wrong."""

import gzip
import json
import os
import re
import subprocess
import sys
import time

import pytest
from hostile import HostileServer

BROKEN = 5
MODELS = b'{"data":[{"id":"m"}]}'
TEXT = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
# Runs a program and prints its peak resident memory in KB as the last line. A separate process,
# since a child's peak includes the memory that its parent had at the fork.
MEASURED = """
import os, resource, sys
code = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])
print(end="\\n%d" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
UNSAFE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile():
    """hostile(completions, models=None) -> HostileServer; completions(write) answers the chat route."""
    servers = []

    def start(completions, models=lambda write: write.json(MODELS)):
        def answer(write, path):
            if path.startswith("/v1/models"):
                models(write)
            elif path.startswith("/v1/chat"):
                completions(write)
            else:
                write(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        servers.append(HostileServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def run(kinglet):
    """run(*args) -> (exit code, stdout, stderr, largest resident memory in MB)."""

    def start(*args):
        env = {**os.environ, "http_proxy": "", "LOG_LEVEL": "error"}
        # a sanitizer keeps freed memory, which would be counted
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8"
        done = subprocess.run([sys.executable, "-S", "-c", MEASURED, kinglet, *map(str, args)],
                              env=env, stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
        said, _, memory = done.stderr.decode().rpartition("\n")
        return done.returncode, done.stdout.decode(), said, int(memory) / 1024

    return start


@pytest.fixture
def doctor(run):
    def look(server, timeout=60):
        code, out, _, memory = run("doctor", "--json", "--timeout", timeout, "--url", server.url)
        broken = [f["text"] for f in json.loads(out)["findings"] if f["weight"] == "broken"]
        assert (code == BROKEN) == (broken != [])
        return broken, memory

    return look


# ---- answers of the chat route -------------------------------------------------------------------


def endless_and_slow(write):
    write.stream()
    while True:
        write.chunk(b": still here\n\n")
        time.sleep(0.05)


def endless_and_fast(write):
    write.stream()
    while True:
        write.chunk(TEXT * 100)


def endless_head(write):
    write(b"HTTP/1.1 200 OK\r\n")
    while True:
        write(b"X-More: " + b"a" * 1000 + b"\r\n")


def endless_continue(write):
    while True:
        write(b"HTTP/1.1 100 Continue\r\nX-More: a\r\n\r\n" * 100)


def one_line(write):
    write.stream()
    for _ in range(64):
        write.chunk(b"a" * 65536)
    write.end()


def sent_elsewhere(write):
    write(b"HTTP/1.1 302 Found\r\nLocation: /v1/chat/completions\r\nContent-Length: 0\r\n"
          b"Connection: close\r\n\r\n")  # fmt: skip


def no_chunk_size(write):
    write.stream()
    write(b"zz\r\n" + TEXT)


def chunk_too_short(write):
    write.stream()
    write(b"5\r\n" + TEXT)


def cut(write):
    write.stream()
    write(b"ffffff\r\n" + TEXT)


def no_utf8(write):
    write.stream()
    write.chunk(b'data: {"choices":[{"delta":{"content":"\xe4\xb8"}}]}\n\n' + FINISH + DONE)
    write.end()


def a_nul(write):
    write.stream()
    write.chunk(b'data: {"choices":[{"delta":{"content":"a\0b"}}]}\n\n' + FINISH + DONE)
    write.end()


def on_after_done(write):
    write.stream()
    write.chunk(TEXT + FINISH + DONE)
    while True:
        write.chunk(b": and on\n\n")
        time.sleep(0.05)


def deep_json(write):
    write.stream()
    write.chunk(b"data: " + b"[" * 500_000 + b"\n\n" + FINISH + DONE)
    write.end()


def silent(write):
    write.stream()
    time.sleep(5)


SLOW = (endless_and_slow, on_after_done, silent)  # ended by a timeout, the others by their content


@pytest.mark.parametrize(
    "behaviour, said",
    [
        (endless_and_slow, "the answer was not over after 1 s"),
        (endless_and_fast, "did not end within 4194304 bytes"),
        (endless_head, "head of the answer is longer than 262144 bytes|Too large response headers"),
        (endless_continue, "head of the answer is longer than 262144 bytes|Too (?:large|many) response"),
        (one_line, "an event of the stream is longer than 1048576 bytes"),
        (sent_elsewhere, "status 302"),
        (no_chunk_size, "hunk"),
        (chunk_too_short, "hunk"),
        (cut, "transfer closed"),
        (no_utf8, "malformed events: invalid UTF-8"),
        (a_nul, "malformed events"),
        (on_after_done, "the stream does not end after .DONE.: .*not over after 1 s"),
        (deep_json, "malformed events"),
        (silent, "the answer was not over after 1 s|nothing came for 1 s"),
    ],
)
def test_doctor_ends_and_says_why(doctor, hostile, behaviour, said):
    server = hostile(behaviour)
    broken, memory = doctor(server, 1 if behaviour in SLOW else 60)
    assert any(re.search(said, text) for text in broken), broken
    # sockets buffer some megabytes more than is read
    assert server.sent < 64_000_000
    assert memory < 300


def test_doctor_limits_all_requests_to_three_timeouts(doctor, hostile):
    asked = []

    def only_at_first(write):
        asked.append(write)
        if len(asked) > 1:
            endless_and_slow(write)
        write.stream()
        write.chunk(TEXT + FINISH + DONE)
        write.end()

    broken, _ = doctor(hostile(only_at_first), 1)
    assert any(re.search("a question of 400 words: .* not over after 1 s", b) for b in broken)
    assert len(asked) <= 4


def test_a_hundred_thousand_events_are_counted(doctor, hostile):
    def flood(write):
        write.stream()
        for _ in range(1000):
            write.chunk(b"data: {}\n\n" * 100)
        write.chunk(TEXT + FINISH + DONE)
        write.end()

    broken, memory = doctor(hostile(flood))
    assert broken == [] and memory < 300


def test_compressed_answers_are_not_decompressed(doctor, hostile):
    bomb = gzip.compress(bytes(200_000_000), 1)

    def compressed(write):
        write.stream(b"Content-Encoding: gzip\r\n")
        write.chunk(bomb)
        write.end()

    server = hostile(compressed)
    broken, memory = doctor(server)
    assert broken == ["the stream is compressed (gzip) for a client that did not accept it"]
    assert memory < 150
    asked = [head for head in server.requests if head.startswith("POST")]
    assert "Accept-Encoding: gzip" in asked[0]  # offered once, to detect a compressed stream
    assert "Accept-Encoding" not in asked[1]


def test_a_huge_list_of_models_is_not_read(doctor, hostile):
    def many(write):
        write.json(b'{"data":[' + b"{}," * 1_300_000 + b"{}]}")

    _, memory = doctor(hostile(one_line, models=many))
    assert memory < 150


ESCAPES = ("\x1b]52;c;QUJD\x07", "\x9b2J", "\u202e", "\u2028", "\x7f")


def escapes(write):
    write.stream(kind=b"text/\x1b]2;owned\x07\xc2\x9b2J\x9b")
    message = json.dumps({"error": {"message": "no " + "".join(ESCAPES)}}, ensure_ascii=False)
    write.chunk(b"data: " + message.encode() + b"\n\n")
    write.end()


def test_findings_are_safe_on_a_terminal(run, hostile):
    server = hostile(escapes)
    code, text, said, _ = run("doctor", "--url", server.url)
    assert code == BROKEN
    assert UNSAFE.findall(text + said) == []
    words = " ".join(text.split())
    assert "the answer is text/?]2;owned??2J? and not text/event-stream" in words
    assert "the answer ended with an error: no ?]52;c;QUJD??2J???" in words
    _, text, _, _ = run("doctor", "--json", "--url", server.url)
    assert UNSAFE.findall(text) == [] and json.loads(text)["status"] == "broken"


# ---- bench --soak --------------------------------------------------------------------------------


def named(write):
    write.json(json.dumps({"data": [{"id": "m" + "".join(ESCAPES) + "e"}]}).encode())


@pytest.mark.parametrize(
    "behaviour, outcome, said",
    [
        (endless_and_slow, "timeout", "the answer was not over after"),
        (endless_and_fast, "broken", "the answer does not end"),
        (endless_head, "cut", "longer than 262144 bytes|Too large"),
        (escapes, "broken", r"^no \?\]52;c;QUJD\?\?2J\?\?\?$"),
    ],
)
def test_a_soak_ends_and_says_why(run, hostile, behaviour, outcome, said):
    server = hostile(behaviour, models=named)
    soak = ("bench", "--soak", "1s", "--timeout", 1 if behaviour in SLOW else 60, "--url",
            server.url)  # fmt: skip
    code, out, _, memory = run(*soak, "--json")
    report = json.loads(out)
    assert code == 1 and memory < 400
    assert re.search(said, report["first_errors"][outcome]), report["first_errors"]
    assert UNSAFE.findall(out) == []
    if behaviour is escapes:
        _, text, progress, _ = run(*soak)
        assert UNSAFE.findall(text + progress) == []
        assert "m\N{REPLACEMENT CHARACTER}]52;c;QUJD" in text

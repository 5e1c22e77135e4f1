"""The log of serve on stderr."""

import fcntl
import json
import os
import re
from pathlib import Path

import pytest
from api_client import CHAT, HELLO, Connection, get, post, stream, wait_until

OPERATING = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


@pytest.fixture
def unread():
    """The writing end of a pipe that is never read."""
    reading, writing = os.pipe()
    yield writing
    os.close(reading)
    os.close(writing)


def test_json(start_server, tmp_path):
    log = tmp_path / "log"
    options = ("--offline", "--log-format", "json", "--log-level", "debug")
    with open(log, "wb") as out:
        server = start_server(*options, stderr=out)
    assert post(server, CHAT, {"messages": HELLO, "max_tokens": 3}).status == 200
    assert server.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    assert {line["level"] for line in lines} >= {"info"}
    assert lines[-1]["message"] == "stopped"
    (request,) = (line for line in lines if "request_id" in line)
    assert request["route"] == CHAT and request["status"] == 200 and request["end"] == "length"
    assert request["answer_tokens"] == 3 and request["prompt_tokens"] > 3
    assert 0 <= request["prefill_seconds"] <= request["seconds"]
    described = OPERATING.read_text().split("| field | is |\n")[1].split("\n\n")[0]
    described = set(re.findall(r"^\| `(\w+)`", described, re.M))
    assert described == set(request) - {"time", "level", "message"}
    assert "Hello" not in log.read_text()  # the texts of users are private


def test_the_line_of_a_client_that_disconnects(start_server, endless, tmp_path):
    """The line has the figures known by then."""
    log = tmp_path / "log"
    with open(log, "wb") as out:
        server = start_server("--offline", "--log-format", "json", stderr=out)
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        assert c.read_head()[0] == 200
        texts = (data for _, data in c.chunks() if b'"content":"' in data)
        for _ in range(3):
            next(texts)
    wait_until(lambda: b'"the client left"' in log.read_bytes(), "no line")
    assert server.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (request,) = (line for line in lines if "request_id" in line)
    assert request["end"] == "the client left"
    assert request["prompt_tokens"] > 3 and request["answer_tokens"] >= 2
    parts = [request[f"{part}_seconds"] for part in ("queue", "prefill", "decode")]
    assert parts[1] > 0 and parts[2] > 0 and sum(parts) <= request["seconds"]


def test_at_info_an_answer_has_one_line(start_server):
    """An answer of any length has one line and other requests have none, so logging costs very little."""
    server = start_server("--offline", "--log-level", "info")
    for n in (1, 30):
        stream(server, max_tokens=n)
    for path in ("/health", "/metrics", "/", "/nothing"):
        get(server, path)
    assert server.log_with("30 answer tokens").count(" request ") == 2


def test_wrong_format(run_kinglet):
    done = run_kinglet("serve", "--log-format", "xml", check=False)
    assert done.returncode == 2
    assert b'--log-format takes text or json, not "xml"' in done.stderr


def dropped(server):
    page = get(server, "/metrics").body.decode()
    return int(re.search(r"^kinglet_log_lines_dropped_total (\d+)$", page, re.M)[1])


def ask(server, n):
    """Sends n requests in sequence, each logged as one line."""
    with Connection(server) as c:
        for _ in range(n // 50):
            for _ in range(50):
                c.send("GET", "/live")
            for _ in range(50):
                assert c.read().status == 200


def test_a_stopped_reader_of_the_log_blocks_no_request(start_server, unread):
    """The pipe and the buffer of 256 KB are full (a line has over 100 bytes); an answer continues."""
    fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
    options = ("--offline", "--log-level", "debug", "--log-format", "json")
    server = start_server(*options, stderr=unread)
    ask(server, 1000)
    assert dropped(server) == 0
    ask(server, 2000)
    assert 0 < dropped(server) < 3000
    before = dropped(server)
    assert stream(server, max_tokens=20).finish_reason() == "length"
    assert dropped(server) > before  # the line about dropped lines
    assert server.stop() == 0


def test_a_full_disk_under_the_log_blocks_no_request(start_server):
    with open("/dev/full", "wb") as full:
        server = start_server("--offline", "--log-level", "debug", stderr=full)
    assert stream(server, max_tokens=20).finish_reason() == "length"
    wait_until(lambda: dropped(server) > 0, "no line is counted")
    assert server.stop() == 0

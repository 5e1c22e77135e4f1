"""What serve says on stderr."""

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
    """A pipe that nobody reads: its writing end."""
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
    assert "Hello" not in log.read_text()  # what was said is nobody's business


def test_a_client_that_leaves(start_server, endless, tmp_path):
    """Its line tells what is known by then."""
    log = tmp_path / "log"
    with open(log, "wb") as out:
        server = start_server("--offline", "--log-format", "json", stderr=out)
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        assert c.read_head()[0] == 200
        texts = (data for _, data in c.chunks() if b'"content":"' in data)
        for _ in range(3):
            next(texts)
    wait_until(lambda: b'"the client left"' in log.read_bytes(), 20, "no line")
    assert server.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (request,) = (line for line in lines if "request_id" in line)
    assert request["end"] == "the client left"
    assert request["prompt_tokens"] > 3 and request["answer_tokens"] >= 2
    parts = [request[f"{part}_seconds"] for part in ("queue", "prefill", "decode")]
    assert parts[1] > 0 and parts[2] > 0 and sum(parts) <= request["seconds"]


def test_at_info_an_answer_has_one_line(start_server):
    """However long it is, and other requests have none: that is why it costs next to nothing."""
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
    """n requests of a line each, one behind the other."""
    with Connection(server) as c:
        for _ in range(n // 50):
            for _ in range(50):
                c.send("GET", "/live")
            for _ in range(50):
                assert c.read().status == 200


def test_a_reader_of_the_log_that_stops_holds_nobody_up(start_server, unread):
    """The pipe and 256 KB behind it are full, a line has over 100 bytes; an answer goes on."""
    fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
    options = ("--offline", "--log-level", "debug", "--log-format", "json")
    server = start_server(*options, stderr=unread)
    ask(server, 1000)
    assert dropped(server) == 0
    ask(server, 2000)
    assert 0 < dropped(server) < 3000
    before = dropped(server)
    assert stream(server, max_tokens=20).finish_reason() == "length"
    assert dropped(server) > before  # its own line
    assert server.stop() == 0


def test_a_full_disk_under_the_log_holds_nobody_up(start_server):
    with open("/dev/full", "wb") as full:
        server = start_server("--offline", "--log-level", "debug", stderr=full)
    assert stream(server, max_tokens=20).finish_reason() == "length"
    wait_until(lambda: dropped(server) > 0, 60, "no line is counted")
    assert server.stop() == 0

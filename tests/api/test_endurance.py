"""Thousands of requests, many of them abandoned: descriptors and anonymous memory stay flat."""

import os
import re

from api_client import CHAT, HELLO, SOON, Connection, health, wait_until

WARM_UP, CANCELLED, SHORT = 200, 1000, 2000
# An allocator may keep this much; a leak of 2 KB a request would be 6 MB.
GROWTH = 4 << 20
# AddressSanitizer's own records grow; it reports leaks itself.
SANITIZER_GROWTH = 32 << 20
# The prefix cache is full after the first requests.
CACHE = ("--cache-ram", "1M", "--cache-disk", 0)


def anonymous_bytes(server):
    """Returns resident and swapped anonymous memory, which the page cache cannot reclaim."""
    status = open(f"/proc/{server.pid}/status").read()
    return sum(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 for name in ("RssAnon", "VmSwap"))


def allowed_growth(server):
    return SANITIZER_GROWTH if "libasan" in open(f"/proc/{server.pid}/maps").read() else GROWTH


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def abandon(server, endless, i):
    c = Connection(server)
    c.send("POST", CHAT, {"messages": endless, "stream": i % 3 > 0, "max_tokens": -1})
    if i % 3 > 1:
        c.read_head()
    if i % 2:
        c.reset()
    else:
        c.socket.close()


def ask(server, n):
    """Sends several requests per connection, like clients do."""
    for begin in range(0, n, 20):
        with Connection(server) as c:
            for i in range(begin, min(begin + 20, n)):
                c.send("POST", CHAT, {"messages": HELLO, "max_tokens": 1, "stream": i % 2 == 0})
                assert c.read().status == 200


def settle(server):
    wait_until(
        lambda: health(server)["running"] + health(server)["queued"] == 0, "some still run"
    )


def test_nothing_grows(start_server, endless):
    # AddressSanitizer keeps freed memory for a while; less than the leaks this test looks for
    sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
    server = start_server("--offline", "--queue", 100, *CACHE, env={"ASAN_OPTIONS": sanitizer})
    for i in range(WARM_UP):
        abandon(server, endless, i)
        if i % 50 == 49:
            settle(server)
    ask(server, WARM_UP)
    settle(server)
    memory, open_files = anonymous_bytes(server), descriptors(server)
    for i in range(CANCELLED):
        abandon(server, endless, i)
        if i % 50 == 49:
            settle(server)
    ask(server, SHORT)
    settle(server)
    h = health(server)
    assert h["requests_finished"] >= SHORT
    # most of them were abandoned while they were prepared, queued or run
    assert h["statistics"]["requests"]["client_left"] > CANCELLED / 2
    wait_until(lambda: descriptors(server) <= open_files, "descriptors leak", SOON)
    assert anonymous_bytes(server) - memory < allowed_growth(server)

"""deploy/haproxy/haproxy.cfg, run by Debian's HAProxy in front of three boxes with the tiny model."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import proxies
import pytest
from api_client import CHAT, HELLO, Connection, complete, get, health, post, wait_until
from proxies import SOON, free_port

LONG = 2000  # tokens
BOXES = ("box1", "box2", "box3")


@pytest.fixture
def start_haproxy(tmp_path_factory):
    """start_haproxy(*ports, **changes) -> Proxy in front of the boxes at these ports (three, or one used
    for all). changes: replacements in the configuration's text."""
    started = []

    def start(*ports, **changes):
        directory, port = tmp_path_factory.mktemp("haproxy"), free_port()
        ports = ports if len(ports) == len(BOXES) else ports * len(BOXES)
        text = {f"192.168.1.1{i + 1}:7860": f"127.0.0.1:{p}" for i, p in enumerate(ports)}
        text |= {k: v.format(port=port) for k, v in changes.items()}
        text |= {"bind :80\n": f"bind 127.0.0.1:{port}\n"} if not changes else {}
        shipped = (proxies.DEPLOY / "haproxy" / "haproxy.cfg").read_text()
        config = directory / "haproxy.cfg"
        config.write_text(proxies.replaced(shipped, **text))
        checked = subprocess.run(["haproxy", "-c", "-f", config], capture_output=True, text=True)
        assert checked.returncode == 0 and "WARNING" not in checked.stderr, checked.stderr
        command = ["haproxy", "-db", "-f", config]
        started.append(proxies.Proxy(command, port, directory / "log"))
        return started[-1]

    yield start
    for haproxy in started:
        haproxy.end()


@pytest.fixture
def boxes(start_server):
    """Three boxes by name, with separate caches."""
    options = ("--offline", "--cache-disk", 0, "--drain-seconds", 600)
    return {name: start_server(*options) for name in BOXES}


@pytest.fixture
def haproxy(start_haproxy, boxes):
    return start_haproxy(*(box.port for box in boxes.values()))


@pytest.fixture
def long_talk(boxes):
    """Messages to which the tiny model's answer has LONG tokens."""
    for text in ("你好", "a b c", "one", "two", "three", "四", "5", "six", "7 7 7", "eight"):
        messages = [{"role": "user", "content": text}]
        usage = complete(boxes["box1"], messages, max_tokens=LONG)["usage"]
        if usage["completion_tokens"] == LONG:
            return messages
    pytest.fail("the tiny model ends all its answers early")


class Answer:
    """A request in its own conversation: .box that answered, .text if the answer is complete."""

    def __init__(self, proxy, number, streamed, messages, max_tokens):
        self.streamed, self.box, self.text = streamed, None, None
        with Connection(proxy, timeout=300) as c:
            body = {"messages": messages, "stream": streamed, "max_tokens": max_tokens}
            c.send("POST", CHAT, body, {"X-Conversation-Id": f"conversation {number}"})
            if not streamed:
                reply = c.read()
                assert reply.status == 200, reply.body
                self.box = reply.headers["x-kinglet-box"]
                self.text = reply.json()["choices"][0]["message"]["content"]
                return
            status, headers = c.read_head()
            assert status == 200, c.rest
            self.box = headers["x-kinglet-box"]
            try:
                self.text = b"".join(data for _, data in c.chunks())
            except (EOFError, ConnectionResetError):
                return  # it had begun, so clients see this error
            assert self.text.endswith(b"data: [DONE]\n\n") and b'"error"' not in self.text


def ask(pool, proxy, numbers, streamed, *what):
    return [pool.submit(Answer, proxy, n, streamed, *what) for n in numbers]


def fill(pool, haproxy, boxes, messages):
    """Fills all slots of all boxes with long answers: two streams and two documents each."""
    running = []
    for streamed in (True, False):
        numbers = range(len(running), len(running) + 6)
        running += ask(pool, haproxy, numbers, streamed, messages, LONG)
        for box in boxes.values():
            places = len(running) // len(boxes)
            wait_until(lambda: health(box)["running"] == places, "the load is not shared")
    return running


def ask_later(pool, haproxy):
    """Sends short requests, of both kinds."""
    streams = ask(pool, haproxy, range(100, 106), True, HELLO, 8)
    return streams + ask(pool, haproxy, range(200, 206), False, HELLO, 8)


def test_a_box_is_killed(haproxy, boxes, long_talk):
    """Streams that had begun there end with an error; all other requests are answered by other boxes."""
    with ThreadPoolExecutor(24) as pool:
        running = fill(pool, haproxy, boxes, long_talk)
        boxes["box1"].process.kill()
        later = ask_later(pool, haproxy)
        answers = [r.result() for r in running]
        later = [r.result() for r in later]
    broken = [a for a in answers if a.text is None]
    assert len(broken) == 2 and all(a.box == "box1" and a.streamed for a in broken)
    assert not any(a.box == "box1" for a in answers if a.text is not None)
    assert all(a.text is not None and a.box != "box1" for a in later)


def test_a_box_is_drained(haproxy, boxes, long_talk):
    """After SIGTERM it completes its running answers; no client gets an error."""
    drained = boxes["box1"]
    with ThreadPoolExecutor(24) as pool:
        running = fill(pool, haproxy, boxes, long_talk)
        drained.process.terminate()
        wait_until(lambda: get(drained, "/ready").status == 503, "it does not stop")
        later = ask_later(pool, haproxy)
        answers = [r.result() for r in running]
        later = [r.result() for r in later]
    assert all(a.text is not None for a in answers + later)
    assert {a.box for a in answers} == set(BOXES)
    assert {a.box for a in later} == {"box2", "box3"}
    assert drained.process.wait(SOON) == 0


def test_a_conversation_stays_with_its_box(haproxy, boxes):
    """The next turn finds its prompt cached; conversations are distributed among the boxes."""
    seen = {}
    for turn in (1, 2, 3):
        for n in range(5):  # round robin alone would send each to another box
            talk = f"{n} is the number of this conversation. " * 8
            messages = [{"role": "user", "content": talk}]
            messages += 2 * (turn - 1) * [{"role": "user", "content": "And then?"}]
            headers = {"X-Conversation-Id": f"number {n}"}
            reply = post(haproxy, CHAT, {"messages": messages, "max_tokens": 1}, headers)
            box, usage = reply.headers["x-kinglet-box"], reply.json()["usage"]
            first_box, prompt_tokens = seen.get(n, (box, 0))
            assert box == first_box
            # all of the previous turn, except the end of its prompt
            assert usage["prompt_tokens_details"]["cached_tokens"] >= prompt_tokens - 10
            seen[n] = (box, usage["prompt_tokens"])
    assert {box for box, _ in seen.values()} == set(BOXES)


def test_an_address_stays_with_its_box(haproxy, boxes):
    """Clients that name no conversation are distinguished by their addresses."""
    assert len({post(haproxy, CHAT, {"messages": HELLO, "max_tokens": 1}).headers["x-kinglet-box"]
                for _ in range(6)}) == 1  # fmt: skip


def test_long_bodies(haproxy):
    """Bodies larger than a buffer pass as well; the refusal is kinglet's."""
    words = [{"role": "user", "content": "word " * 60_000}]
    assert post(haproxy, CHAT, {"messages": words}).error["code"] == "context_length_exceeded"
    reply = post(haproxy, CHAT, b" " * ((1 << 20) + 1))
    assert reply.status == 413 and reply.error["code"] == "body_too_large"


def test_no_box_is_available(start_haproxy):
    reply = get(start_haproxy(free_port()), "/health")
    assert reply.status == 503 and reply.error["code"] == "unreachable"
    assert reply.headers["retry-after"] == "5"


def test_errors_and_metrics(haproxy):
    proxies.check_errors(haproxy)
    proxies.check_metrics_are_not_public(haproxy)


def test_the_page(haproxy, boxes):
    proxies.check_page(haproxy, boxes["box1"])


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_disconnects(start_haproxy, server, streamed):
    proxies.check_disconnect(start_haproxy(server.port), server, streamed)


def test_streams(start_haproxy, server, run_kinglet):
    haproxy = start_haproxy(server.port)
    proxies.check_stream(haproxy, server)
    proxies.check_openai_client(haproxy)
    proxies.check_doctor(haproxy, run_kinglet)


def test_a_refusal(start_haproxy, start_server, model_path):
    server = start_server("--offline", "--parallel", 1, "--queue", 1, model=model_path)
    proxies.check_refusal(start_haproxy(server.port), server)


def test_tls(start_haproxy, start_server, certificate, tmp_path):
    pem = tmp_path / "kinglet.pem"
    pem.write_bytes(certificate.crt.read_bytes() + certificate.key.read_bytes())
    haproxy = start_haproxy(
        start_server("--offline").port,
        **{
            "    bind :80\n": "",
            "    http-request set-header X-Forwarded-Proto http\n": "",
            "#tls bind :443": "#tls bind 127.0.0.1:{port}",
            "/etc/haproxy/kinglet.pem": str(pem),
            "#tls ": "",
        },
    )
    proxies.check_tls(haproxy, certificate)

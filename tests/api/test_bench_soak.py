"""kinglet bench --soak: its counts add up, kinds of failures are distinguished, and the server that
it started ends with it."""

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from api_client import get, health, wait_until
from test_bench import Page

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds; only against hanging
ANSWERED = {"finish_reason": "stop", "delta": {}}


@pytest.fixture
def prompts(tmp_path):
    """A directory of prompts to each of which the tiny model has an answer: 5 requests a round."""
    directory = tmp_path / "prompts"
    directory.mkdir()
    (directory / "greetings.txt").write_text("# two\nHello\n\n你好\\n再见\n")
    (directory / "talks.txt").write_text("one two\n+ three\n+ four\n")
    return directory


@pytest.fixture
def soak(kinglet, tiny_model_path):
    """soak(*args, check=True) -> CompletedProcess with text; of the tiny model unless --url is
    given, with 8 tokens an answer."""

    def run(*args, check=True):
        args = [str(a) for a in args]
        model = [] if "--url" in args else ["--model", str(tiny_model_path)]
        done = subprocess.run(
            [kinglet, "bench", "--generate", "8", *model, *args],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def child_of(pid):
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")")[1].split()[1]) == pid:
                return int(path.parent.name)
        except FileNotFoundError:
            pass
    return None


@pytest.fixture
def running(kinglet, tiny_model_path, prompts):
    """running(*args) -> (process, pid of its server), once it sends requests."""
    started = []

    def start(*args):
        process = subprocess.Popen(
            [kinglet, "bench", "--soak", "10m", "--model", tiny_model_path, "--prompts", prompts,
             "--generate", "8", *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # a shell's background job, as a test run may be, ignores Ctrl-C and hands that on
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        started.append(process)
        wait_until(lambda: child_of(process.pid), "a server is started")
        return process, child_of(process.pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_answers(pid, n):
    """Waits until the server with this pid has answered a number of requests."""

    def words():
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")

    wait_until(lambda: "--port" in words(), "it runs its program, and not yet that of its parent")
    command = words()

    class Port:
        port = int(command[command.index("--port") + 1])

    def has_answered():
        try:
            return health(Port).get("requests_finished", 0) >= n
        except OSError:
            return False

    wait_until(has_answered, "answers")


# ---- its own server ------------------------------------------------------------------------------------


def check_spread(s, n):
    assert s["n"] == n
    assert 0 <= s["p50"] <= s["p95"] <= s["p99"] <= s["max"]
    assert s["mean"] <= s["max"] and 0 <= s["variance"] <= s["max"] ** 2


def check_sums(sums, n):
    assert sums["requests"] == sums["answered"] == n and sums["success"] == 1
    assert sums["failures"] == {}
    check_spread(sums["latency_seconds"], n)
    check_spread(sums["first_text_seconds"], n)
    check_spread(sums["gap_seconds"], sums["gap_seconds"]["n"])
    assert 0 < sums["first_text_seconds"]["mean"] < sums["latency_seconds"]["mean"]
    assert n <= sums["tokens"] <= 8 * n and sums["tokens_from"] == "usage"
    assert sums["gap_seconds"]["n"] < sums["tokens"]
    assert sums["writing_tokens_per_second"] > 0 and sums["tokens_per_second"] > 0


def test_json_and_report_add_up(soak, prompts, tmp_path):
    path = tmp_path / "report.html"
    done = soak("--soak", "10m", "--rounds", 2, "--prompts", prompts, "--json", "--report", path,
                "--threads", 1, "--", "--cache-disk", "0")  # fmt: skip
    report = json.loads(done.stdout)
    check_sums(report["all"], 10)
    check_sums(report["kinds"]["greetings"], 4)
    check_sums(report["kinds"]["talks"], 6)
    kinds = report["kinds"].values()
    assert report["all"]["tokens"] == sum(k["tokens"] for k in kinds)
    assert report["all"]["gap_seconds"]["n"] == sum(k["gap_seconds"]["n"] for k in kinds)
    assert report["rounds"] == 2 and report["people"] == 1 and report["generate"] == 8
    assert report["first_errors"] == {}
    memory = report["memory_bytes"]
    assert memory["resident"] == memory["anonymous"] + memory["file"] <= memory["peak"]
    series = report["series"]
    assert series["interval_seconds"] == 1 and sum(series["answered"]) == 10
    assert max(series["latency_seconds_max"]) == report["all"]["latency_seconds"]["max"]
    assert max(series["resident_bytes"]) <= memory["peak"]
    assert set(report["drift"]) == {
        "latency_seconds", "first_text_seconds", "writing_tokens_per_second", "resident_bytes"
    }  # fmt: skip
    assert report["drift"]["resident_bytes"]["first_tenth"] == series["resident_bytes"][0]

    page = Page(path.read_text())
    assert page.open == [] and page.links == [] and "script" not in page.tags
    for shown in ("Latency of answers, s", "Time to the first text, ms", "Memory of the server, MB",
                  "Latency: % of the answers", "First text: % of the answers",
                  "--rounds 2", report["model"], report["server"], "talks: latency, s"):  # fmt: skip
        assert shown in page.text, shown
    assert "{{" not in path.read_text() and "nan" not in path.read_text()
    assert re.search(r'<path class="curve ac" d="M[\d.]+ [\d.]+', path.read_text())
    port = int(report["server"].rsplit(":")[-1])
    with pytest.raises(OSError):  # it has ended
        get(type("Port", (), {"port": port}), "/health")


def test_questions_are_built_in(soak):
    done = soak("--soak", "1s", "--generate", 2, "--json", check=False)
    report = json.loads(done.stdout)
    assert list(report["kinds"]) == ["chinese", "code", "conversations"]
    assert set(report["all"]["failures"]) <= {"empty"}  # the tiny model may have nothing to say
    assert report["all"]["requests"] > 0 and 1 <= report["seconds"] < PATIENCE
    assert report["all"]["requests"] == sum(k["requests"] for k in report["kinds"].values())


def test_ctrl_c_ends_the_soak_with_a_report(running, tmp_path):
    path = tmp_path / "report.html"
    process, server = running("--report", path)
    wait_for_answers(server, 5)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.endswith("kinglet bench: stopped before its time\n")
    assert re.search(r"^success: 100.00 % of \d+ requests$", out, re.M), out
    assert Page(path.read_text()).open == []
    assert is_gone(server)


def test_ctrl_c_while_the_server_starts(kinglet, tmp_path, prompts):
    """The server waits for a model that another process seems to download."""
    import fcntl

    models = tmp_path / "kinglet" / "models"
    models.mkdir(parents=True)
    with open(models / "qwen2.5-0.5b-instruct-q4_k_m.gguf.part", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
        process = subprocess.Popen(
            [kinglet, "bench", "--soak", "10m", "--model", "qwen2.5-0.5b-instruct"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PATH": "/nowhere", **nowhere},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        wait_until(lambda: child_of(process.pid), "a server is started")
        server = child_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT, said
    assert said.endswith("kinglet bench: stopped\n")
    assert is_gone(server)


def test_the_server_ends_with_its_parent(running):
    process, server = running()
    wait_for_answers(server, 1)
    process.kill()
    process.wait()
    wait_until(lambda: is_gone(server), "the server has ended")


def test_a_killed_server_ends_the_soak(running):
    process, server = running()
    wait_for_answers(server, 5)
    os.kill(server, signal.SIGKILL)
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "kinglet bench: the server was ended by signal 9" in said
    assert re.search(r"^talks +\d+ ", out, re.M)  # the results so far are shown


def test_a_server_that_cannot_start(soak, tmp_path):
    done = soak("--soak", "10m", "--", "--model", tmp_path / "none.gguf", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "kinglet bench: the server has ended with exit code" in done.stderr


# ---- other servers ---------------------------------------------------------------------------------


def test_a_server_that_already_runs(soak, tiny, prompts):
    before = health(tiny)["requests_finished"]
    done = soak("--soak", "10m", "--rounds", 2, "--people", 3, "--url", f"{tiny.base_url}/v1/",
                "--pid", tiny.pid, "--prompts", prompts)  # fmt: skip
    assert health(tiny)["requests_finished"] == before + 10
    for line in (
        r".* at http://127\.0\.0\.1:\d+: \d+:\d\d, 2\.00 rounds",
        r"greetings +4 +0( +[\d.]+){12} +[\d.]+",
        r"all +10 +0( +[\d.]+){12} +[\d.]+",
        r"success: 100\.00 % of 10 requests",
        r"variance: latency .* s\^2, first text .* ms\^2, from text to text .* ms\^2",
        r"tokens: \d+ \(counted by the server\), [\d.]+ a second over the whole run",
        r"memory: resident .*: files .*, anonymous .*; swapped out .*; peak .*",
        r"from the first to the last tenth: .*resident memory .* MB \([+-][\d.]+ %\)",
    ):
        assert re.search(f"^{line}$", done.stdout, re.M), (line, done.stdout)


def test_memory_reported_by_the_server(soak, tiny, prompts):
    done = soak("--soak", "10m", "--rounds", 1, "--url", tiny.base_url, "--prompts", prompts, "--json")
    memory = json.loads(done.stdout)["memory_bytes"]
    assert memory["resident"] > 0 and memory["anonymous"] == 0
    none = soak("--soak", "1s", "--url", tiny.base_url, "--pid", 4194303, check=False)
    assert none.returncode == 2 and "--pid 4194303: there is no such process" in none.stderr


class Other(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose behaviour the question chooses."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def start(self, status, content_type):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, **fields):
        self.chunk(b"data: " + json.dumps(fields).encode() + b"\n\n")

    def text(self, text):
        self.event(choices=[{"delta": {"content": text}}])

    def do_GET(self):
        models = json.dumps({"data": [{"id": "other"}]}).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("Content-Length", str(len(models)))
        self.end_headers()
        self.wfile.write(models)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((dict(self.headers), body))
        what = body["messages"][-1]["content"]
        if what.isdigit():
            self.start(int(what), "application/json")
            self.chunk(b'{"error": {"message": "no"}}')
        elif what == "page":
            self.start(200, "text/html")
            self.chunk(b"<p>Welcome to the proxy</p>")
        else:
            self.start(200, "text/event-stream")
            self.stream(what)
        if not self.close_connection:
            self.chunk(b"")

    def stream(self, what):
        self.chunk(b": hello\n\n")
        if what != "empty":
            self.text(f"{what}! ")
        if what == "stall":
            self.server.over.wait(PATIENCE)
        if what == "last":
            self.server.shutdown()
            self.server.socket.close()
        if what == "error":
            self.event(error={"message": "out of <memory>"})
        if what == "broken":
            self.chunk(b"data: {\n\n")
        if what in ("cut", "stall", "last"):
            self.close_connection = True
            return
        if what != "empty":
            self.text("Yes.")
        if what != "short":
            self.event(choices=[ANSWERED])
            self.chunk(b"data: [DONE]\n\n")


@pytest.fixture
def other():
    """other() -> a server of Other; .seen: its requests, (headers, body)."""

    @contextmanager
    def serve():
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
            server.seen, server.over = [], threading.Event()
            server.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield server
            finally:
                server.over.set()
                server.shutdown()
                thread.join()

    with serve() as server:
        yield server


def test_requests(soak, other, tmp_path):
    (tmp_path / "talk.txt").write_text("first\n+ second\\nline\n")
    key = tmp_path / "keys"
    key.write_text("# ours\nsecret-key-of-mine\n")
    done = soak("--soak", "10m", "--rounds", 1, "--url", other.url, "--prompts", tmp_path,
                "--api-key-file", key, "--json")  # fmt: skip
    (headers, first), (_, second) = other.seen
    assert headers["Authorization"] == "Bearer secret-key-of-mine"
    first_question = {"role": "user", "content": "first"}
    assert first == {
        "model": "other", "messages": [first_question], "max_tokens": 8, "temperature": 0,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert second["messages"] == [
        first_question,
        {"role": "assistant", "content": "first! Yes."},
        {"role": "user", "content": "second\nline"},
    ]
    report = json.loads(done.stdout)
    assert report["model"] == "other" and "memory_bytes" not in report
    assert report["all"]["tokens_from"] == "texts" and report["all"]["tokens"] == 4
    assert report["all"]["gap_seconds"]["n"] == 2
    soak("--soak", "10m", "--rounds", 1, "--url", other.url, "--prompts", tmp_path, "--model-name", "x")
    assert other.seen[-1][1]["model"] == "x"


def test_failures_are_distinguished(soak, other, tmp_path):
    asked = ("fine", "500", "429", "page", "cut", "short", "error", "broken", "empty")
    (tmp_path / "all.txt").write_text("".join(f"{what}\n+ go on\n" for what in asked))
    path = tmp_path / "report.html"
    done = soak("--soak", "10m", "--rounds", 1, "--people", len(asked), "--url", other.url,
                "--prompts", tmp_path, "--json", "--report", path, check=False)  # fmt: skip
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["all"]["failures"] == {
        "cut": 2, "error": 1, "broken": 2, "empty": 1, "status 500": 1, "status 429": 1
    }  # fmt: skip
    # a failed conversation is not continued
    assert report["all"]["requests"] == len(asked) + 1 and report["all"]["answered"] == 2
    assert report["all"]["success"] == pytest.approx(2 / (len(asked) + 1))
    assert report["all"]["latency_seconds"]["n"] == 2
    assert sum(report["series"]["failed"]) == len(asked) - 1
    errors = report["first_errors"]
    assert errors["error"] == "out of <memory>" and errors["status"] in ("status 500", "status 429")
    assert errors["empty"] == "the answer has no text"
    page = Page(path.read_text())
    assert page.open == [] and "out of <memory>" in page.text and "broken" in page.text


def test_a_server_that_falls_silent(soak, other, tmp_path):
    (tmp_path / "all.txt").write_text("stall\n")
    done = soak("--soak", "10m", "--rounds", 1, "--timeout", 1, "--url", other.url, "--prompts",
                tmp_path, "--json", check=False)  # fmt: skip
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["all"]["failures"] == {"timeout": 1}
    assert "nothing came for 1 s" in report["first_errors"]["timeout"]


def test_a_server_that_goes_away(soak, other, tmp_path):
    (tmp_path / "all.txt").write_text("fine\nlast\nnot\n+ asked\nthis\n")
    done = soak("--soak", "10m", "--rounds", 1, "--url", other.url, "--prompts", tmp_path, "--json",
                check=False)  # fmt: skip
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["all"]["answered"] == 1
    assert report["all"]["failures"] == {"cut": 1, "connect": 2}
    assert "Failed to connect" in report["first_errors"]["connect"]
    assert report["seconds"] >= 3  # after each failure it waits, and does not ask thousands of times


def test_no_server_answers(soak):
    done = soak("--soak", "10m", "--url", "127.0.0.1:9", check=False)
    assert done.returncode == 1
    assert "http://127.0.0.1:9/v1/models: Failed to connect" in done.stderr


@pytest.mark.parametrize(
    "args, said",
    [
        (["--soak", "10"], 'such as 90s, 10m, 72h or 3d, at most 366d, not "10"'),
        (["--url", "localhost"], "--url: only with --soak TIME"),
        (["--rounds", "3"], "--rounds: only with --soak TIME"),
        (["--", "--port", "1"], "arguments for serve (after --): only with --soak TIME"),
        (["--soak", "1m", "--url", "x", "--", "--port", "1"], "cannot be combined with --url"),
        (["--soak", "1m", "--people", "65"], "--people takes a whole number from 1 to 64"),
        (["--soak", "1m", "--prompts", "/proc/1/fd/none"], "cannot read the directory"),
    ],
)
def test_wrong_usage(soak, args, said):
    done = soak(*args, check=False)
    assert done.returncode in (1, 2) and said in done.stderr, done.stderr


# ---- bench/soak ------------------------------------------------------------------------------------


@pytest.fixture
def peer(kinglet, tmp_path):
    """A program with llama-server's options: ours, behind a translation of them."""
    path = tmp_path / "llama-server"
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "assert sys.argv.pop() == '--no-webui', sys.argv\n"
        "o = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "assert o['-c'] == str(4096 * int(o['-np'])) and o['--cache-ram'] == '64', o\n"
        f"command = [{str(kinglet)!r}, 'serve', '--model', o['-m'], '--threads', o['-t']]\n"
        "os.execv(command[0], command + ['--port', o['--port'], '--parallel', o['-np']])\n"
    )
    path.chmod(0o755)
    return path


def test_kinglet_and_peer_in_turn(kinglet, peer, prompts, tiny_model_path):
    """Both are the same program, so they give the same answers."""

    def run(*args):
        command = [sys.executable, REPOSITORY / "bench" / "soak", "--model", tiny_model_path]
        command += ["--peer", peer, "--kinglet", kinglet, "--prompts", prompts, "--generate", "6"]
        done = subprocess.run(
            [*map(str, command), *args], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    both = json.loads(run("--questions", "1", "--threads", "1", "--people", "2", "--json"))
    ours, theirs = both["kinglet"], both["peer"]
    for report in (ours, theirs):
        assert report["kinds"]["greetings"]["requests"] == 1
        assert report["kinds"]["talks"]["requests"] == 3
        assert report["people"] == 2 and report["memory_bytes"]["peak"] > 0
    assert ours["all"]["tokens"] == theirs["all"]["tokens"]
    table = run("--threads", "1")
    assert "| requests, of them answered | 5, 100.00 % | 5, 100.00 % |" in table
    assert re.search(r"^\| latency, s: mean / p50 / p95 / p99 \| [\d.]+ / .* \|$", table, re.M)

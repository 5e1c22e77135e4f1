"""The commands as used by people and scripts: texts, exit codes, and output streams."""

import contextlib
import math
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import numpy as np
import pytest

COMMANDS = ("serve", "chat", "pull", "bench", "doctor", "key", "cache", "schema", "tokenize", "eval")
NO_MODEL = 3


@pytest.fixture
def run(run_kinglet, tmp_path):
    """run(*args) -> CompletedProcess, with its own cache directory and without network."""

    def start(*args, input=b"", env=None, check=True):
        settings = {
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HF_ENDPOINT": "http://127.0.0.1:1",
            "MODELSCOPE_ENDPOINT": "http://127.0.0.1:1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "",
            "LOG_LEVEL": "",
            "KINGLET_MODEL": "",
            "KINGLET_CPU": "",
        }
        return run_kinglet(*args, input=input, env={**settings, **(env or {})}, check=check)

    return start


# ---- help, versions, mistakes ---------------------------------------------------------------------


def test_help_and_version(run):
    overview = run("--help")
    assert all(f"  {name} " in overview.stdout.decode() for name in COMMANDS)
    assert b"Exit codes" in overview.stdout and overview.stderr == b""
    version = run("--version").stdout
    assert re.fullmatch(rb"kinglet \d+\.\d+\.\d+\n", version)
    for name in COMMANDS:
        text = run(name, "--help").stdout.decode()
        assert text.startswith(f"Usage: kinglet {name} ")
        assert "Exit codes" in text
        assert all(len(line) <= 80 for line in text.splitlines())
        assert run(name, "-h").stdout.decode() == text
        assert run(name, "--version").stdout == version
        options = ["--log-level", "--help", "--version"]
        if name not in ("pull", "key", "cache"):
            options.append("--model")
        if name not in ("pull", "key", "cache", "schema", "tokenize"):
            options += ["--threads", "--ctx-size", "--cpu"]
        assert all(option in text for option in options)


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "Usage: kinglet COMMAND"),
        (["chta"], "unknown command chta; did you mean chat?"),
        (["xyzzy"], "unknown command xyzzy"),
        (["chat", "--temprature", "1"], "did you mean --temperature?"),
        (["serve", "--port", "70000"], "--port takes a whole number from 0 to 65535"),
        (["serve", "--paralel=2"], "did you mean --parallel?"),
        (["bench", "--prompt", "0"], "--prompt takes whole numbers from 1 to"),
        (["chat", "--log-level", "loud", "x"], "--log-level takes debug, info, warning or error"),
        (["eval"], "give either --ppl FILE, or --tokens FILE and --logits OUT.npy"),
        (["chat"], "standard input is empty"),
    ],
)
def test_wrong_usage_is_2_and_explained(run, args, said):
    done = run(*args, check=False)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert done.stdout == b""


def test_log_level_of_the_environment(run, tiny_model_path):
    done = run("tokenize", "-m", tiny_model_path, env={"LOG_LEVEL": "loud"}, check=False)
    assert done.returncode == 2 and b"LOG_LEVEL" in done.stderr
    quiet = run("tokenize", "-m", tiny_model_path, env={"LOG_LEVEL": "error"})
    assert quiet.stderr == b""
    loud = run("tokenize", "-m", tiny_model_path, env={"LOG_LEVEL": "info"})
    assert re.search(rb"info +tokenizer ready \(\d+\.\d\d s\)", loud.stderr)
    # the option wins
    both = run("tokenize", "-m", tiny_model_path, "--log-level=error", env={"LOG_LEVEL": "info"})
    assert both.stderr == b""


@pytest.mark.parametrize("command", ["serve", "chat", "bench", "tokenize", "eval"])
def test_a_missing_model_is_exit_code_3(run, command, tmp_path):
    args = {"chat": ["hi"], "eval": ["--ppl", "x"]}.get(command, [])
    offline = ["--offline"] if command in ("serve", "chat") else []
    done = run(command, *offline, *args, check=False)
    assert done.returncode == NO_MODEL
    assert b"'kinglet pull qwen2.5-0.5b-instruct'" in done.stderr
    done = run(command, *offline, "-m", tmp_path / "no.gguf", *args, check=False)
    assert done.returncode == NO_MODEL
    assert str(tmp_path / "no.gguf").encode() in done.stderr


def test_serve_tries_to_download_the_model(run):
    done = run("serve", check=False)
    assert done.returncode == NO_MODEL
    said = [line.split(b":")[0] for line in done.stderr.splitlines()]
    for name in (b"Hugging Face", b"ModelScope", b"Python packages"):
        assert name in said
    assert b"Using qwen2.5-coder-0.5b-instruct instead" in done.stderr


def test_a_damaged_model_is_exit_code_1(run, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    done = run("tokenize", "-m", path, check=False)
    assert done.returncode == 1
    assert str(path).encode() in done.stderr


def test_an_unknown_kernel_name(run, tiny_model_path):
    done = run("bench", "-m", tiny_model_path, "--cpu", "avx9", check=False)
    assert done.returncode == 2 and b"avx9" in done.stderr


def kernels_of(done):
    """Returns the tier named in the load log."""
    return re.search(r"kernels: ([\w.-]+) \((.*); this CPU has ", done.stderr.decode()).groups()


@pytest.fixture
def bench_kernels(run, tiny_model_path):
    """bench_kernels(*options, env) -> CompletedProcess of a short bench on the tiny model."""

    def start(*options, env=None, check=True):
        return run("bench", "-m", tiny_model_path, "--quick", "--only", "prefill", "--prompt", 8,
                   "--repeat", 1, "--threads", 1, "--log-level", "info", *options,
                   env=env, check=check)  # fmt: skip

    return start


def test_the_option_overrides_the_variable_for_kernels(bench_kernels):
    variable = {"KINGLET_CPU": "scalar"}
    assert kernels_of(bench_kernels(env=variable)) == (
        "scalar", "the environment variable KINGLET_CPU")  # fmt: skip
    best = kernels_of(bench_kernels("--cpu", "auto", env=variable))
    assert best == kernels_of(bench_kernels()) and best[1] == "the best"
    done = bench_kernels(env={"KINGLET_CPU": "avx9"}, check=False)
    assert done.returncode == 2
    assert b"KINGLET_CPU: cpu tier \"avx9\" is not known" in done.stderr


def test_no_avx512_is_a_separate_choice(bench_kernels):
    tier, why = kernels_of(bench_kernels("--no-avx512"))
    assert "avx512" not in tier and why == "the best with --no-avx512"
    done = bench_kernels("--no-avx512", "--cpu", "avx512vnni", check=False)
    assert done.returncode != 0 and b"avx512vnni" in done.stderr


def test_a_tier_that_this_cpu_lacks_is_refused_by_name(bench_kernels):
    flags = Path("/proc/cpuinfo").read_text().split()
    tiers = {"sse4.1": "sse4_1", "avx2": "avx2", "avxvnni": "avx_vnni", "avx512": "avx512bw",
             "avx512vnni": "avx512_vnni"}  # fmt: skip
    for tier, flag in tiers.items():
        done = bench_kernels("--cpu", tier, check=False)
        if flag in flags:
            assert kernels_of(done) == (tier, "--cpu")
        else:
            said = f"--cpu: cpu tier {tier}: this CPU lacks what it needs ("
            assert done.returncode != 0 and said in done.stderr.decode()


def test_results_that_cannot_be_written_are_a_failure(kinglet, tiny_model_path):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [kinglet, "tokenize", "-m", tiny_model_path, "--ids"],
            input=b"some text", stdout=full, stderr=subprocess.PIPE, timeout=60,
        )
    assert done.returncode == 1
    assert b"could not be written" in done.stderr


# ---- tokenize -------------------------------------------------------------------------------------


def test_tokenize_round_trip(run, tiny_model_path, tmp_path):
    text = "Hello, 世界! <|im_start|>\n\ttabs \\ and 😀 end".encode()
    ids = run("tokenize", "-m", tiny_model_path, "--ids", input=text).stdout
    assert re.fullmatch(rb"\d+( \d+)*\n", ids)
    assert run("tokenize", "-m", tiny_model_path, "--decode", input=ids).stdout == text
    # the same from a file
    path = tmp_path / "text"
    path.write_bytes(text)
    assert run("tokenize", "-m", tiny_model_path, "--ids", path).stdout == ids


def test_tokenize_shows_one_piece_per_line(run, tiny_model_path):
    text = "a\n\tb\\c 你\x01".encode()
    lines = run("tokenize", "-m", tiny_model_path, input=text).stdout.decode().splitlines()
    ids = run("tokenize", "-m", tiny_model_path, "--ids", input=text).stdout.split()
    assert [line.split("\t")[0].encode() for line in lines] == ids
    joined = "".join(line.split("\t")[1] for line in lines)
    named = {"\\n": b"\n", "\\t": b"\t", "\\\\": b"\\"}

    def unescape(match):
        return named.get(match[0]) or bytes([int(match[0][2:], 16)])

    parts = re.split(r"(\\n|\\t|\\\\|\\x[0-9a-f]{2})", joined)
    back = b"".join(
        unescape(re.match(r".*", p)) if p.startswith("\\") else p.encode() for p in parts
    )
    assert back == text


def test_tokenize_reads_special_tokens_only_with_the_option(run, tiny_model_path):
    text = b"<|im_start|>"
    assert len(run("tokenize", "-m", tiny_model_path, "--ids", input=text).stdout.split()) > 1
    one = run("tokenize", "-m", tiny_model_path, "--ids", "--special", input=text).stdout.split()
    assert len(one) == 1
    assert run("tokenize", "-m", tiny_model_path, "-d", input=one[0]).stdout == text


def test_tokenize_refuses_invalid_ids(run, tiny_model_path):
    for bad in (b"1 x", b"-1", b"99999999"):
        done = run("tokenize", "-m", tiny_model_path, "--decode", input=bad, check=False)
        assert done.returncode == 2
        assert bad.split()[-1] in done.stderr


# ---- chat -----------------------------------------------------------------------------------------


def test_chat_writes_answers_to_stdout_and_figures_to_stderr(run, tiny_model_path):
    args = ("chat", "-m", tiny_model_path, "-n", "12")
    words = run(*args, "what", "is", "this")
    assert words.stdout.endswith(b"\n") and len(words.stdout) > 1
    assert re.search(rb"\[12 tokens, [\d.]+ tokens/s; prompt \d+ tokens", words.stderr)
    assert b"cut off" in words.stderr
    # as one argument, through a pipe, and again: the same greedy answer
    assert run(*args, "what is this").stdout == words.stdout
    assert run(*args, input=b"what is this\n").stdout == words.stdout
    # drawn with a seed: repeatable
    drawn = [run(*args, "--temperature", "2", "--seed", s, "hi").stdout for s in ("7", "7", "8")]
    assert drawn[0] == drawn[1] != drawn[2]


def test_chat_prompt_without_room(run, tiny_model_path):
    done = run("chat", "-m", tiny_model_path, "-c", "32", "word " * 200, check=False)
    assert done.returncode == 1
    assert done.stdout == b""


class Terminal:
    """kinglet on its own terminal."""

    def __init__(self, command, env):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )
        os.close(slave)
        self.seen = b""

    def type(self, text):
        os.write(self.master, text)

    def wait_for(self, pattern, seconds=60):
        """Reads until the text since the last call matches; returns and clears it."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen, re.S)):
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                pytest.fail(f"no {pattern!r} in {self.seen[-2000:]!r}")
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                pytest.fail(f"it ended without {pattern!r}: {self.seen[-2000:]!r}")
        before = self.seen[: found.end()]
        self.seen = self.seen[found.end() :]
        return before

    def wait_until_edited(self):
        """Waits until a line is being edited. Before that, the terminal handles Ctrl-D itself."""
        deadline = time.monotonic() + 60
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "no line is edited"
            time.sleep(0.002)

    def wait(self):
        """Waits until it ends by itself; returns its exit code."""
        drain = threading.Thread(target=self.drain, daemon=True)
        drain.start()
        code = self.process.wait(30)
        drain.join()  # or the thread would read the next terminal that gets this descriptor
        return code

    def drain(self):
        try:
            while os.read(self.master, 65536):
                pass
        except OSError:
            pass

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(kinglet, share_prepared, tmp_path):
    """terminal(*args) -> Terminal, with its own history and the shared packed weights."""
    opened = []
    share_prepared(tmp_path / "cache" / "kinglet", "packed")

    def start(*args):
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TERM": "xterm",
               "LC_ALL": "C.UTF-8", "LOG_LEVEL": "error", "KINGLET_MODEL": ""}
        opened.append(Terminal([str(kinglet), *map(str, args)], env))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


STATISTICS = rb"\[\d+ tokens.*?\]"
PROMPT = rb"> "


def test_history_is_not_written_through_a_link(terminal, tiny_model_path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    history = tmp_path / "cache" / "kinglet" / "history"
    for planted in (history, history.with_name("history.tmp")):
        planted.symlink_to(victim)
        t = terminal("chat", "-m", tiny_model_path, "-n", "4")
        t.wait_for(PROMPT)
        t.type(b"/clear\n")
        t.wait_for(PROMPT)
        t.wait_until_edited()
        t.type(b"\x04")
        assert t.process.wait(30) == 0
        assert victim.read_text() == "untouched"
        assert not planted.is_symlink() and "clear" in history.read_text()


def test_conversation(terminal, run, tiny_model_path, tmp_path):
    t = terminal("chat", "-m", tiny_model_path, "-n", "8", "-c", "1024")
    t.wait_for(rb"/help lists.*" + PROMPT)
    t.type("你好 wörld\n".encode())
    first = t.wait_for(STATISTICS)
    t.wait_for(PROMPT)
    short = int(re.search(rb"prompt (\d+) tokens", first)[1])
    t.type(b"and again\n")
    longer = int(re.search(rb"prompt (\d+) tokens", t.wait_for(STATISTICS))[1])
    assert longer > short + 8  # question, answer and the new question
    t.wait_for(PROMPT)
    t.type(b"/clear\n")
    t.wait_for(rb"The conversation was cleared")
    t.type("你好 wörld\n".encode())
    cleared = int(re.search(rb"prompt (\d+) tokens", t.wait_for(STATISTICS))[1])
    assert cleared == short
    t.wait_for(PROMPT)
    t.type(b"/halp\n")
    t.wait_for(rb"There is no command /halp")
    t.type(b"/exit\n")
    assert t.wait() == 0
    history = (tmp_path / "cache" / "kinglet" / "history").read_text(encoding="utf-8")
    assert "/clear" in history.replace("\\057", "/")


def test_ctrl_c_stops_the_answer_and_ctrl_d_exits(terminal, model_path):
    t = terminal("chat", "-m", model_path)
    t.wait_for(rb"/help lists.*" + PROMPT, seconds=120)
    t.type(b"Count from one to five hundred in words.\n")
    t.wait_for(rb"\r\n.*[a-z]{3}", seconds=60)
    time.sleep(1)
    t.type(b"\x03")
    assert b"; stopped]" in t.wait_for(STATISTICS, seconds=60)
    t.wait_for(PROMPT)
    # at the prompt it clears the line, any number of times
    for _ in range(3):
        t.type(b"half a li\x03")
        t.wait_for(PROMPT)
    # a Ctrl-D typed before the line is edited is lost in the terminal: it is typed again
    deadline = time.monotonic() + 30
    while t.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # it has just ended
            t.type(b"\x04")
        time.sleep(0.3)
    assert t.wait() == 0


def test_nul_is_not_typed(terminal, tiny_model_path):
    """A Ctrl-D typed before the line is edited arrives as NUL, which libedit takes for a quote."""
    t = terminal("chat", "-m", tiny_model_path)
    t.wait_for(rb"/help lists.*" + PROMPT)
    t.type(b"half")
    t.wait_for(rb"half")
    t.wait_until_edited()
    t.type(b"\x15\0\x04")
    assert t.wait() == 0


def test_interrupted_single_answer_ends_the_program(kinglet, model_path):
    process = subprocess.Popen(
        [kinglet, "chat", "-m", model_path, "Count from one to five hundred in words."],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        # a shell's background job, as a test run may be, ignores Ctrl-C and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT


# ---- eval ------------------------------------------------------------------------------------------


def write_sequences(path, lengths, n_vocab, seed=1):
    random = np.random.default_rng(seed)
    sequences = [random.integers(0, n_vocab, n) for n in lengths]
    path.write_text("\n\n".join(" ".join(map(str, s)) for s in sequences) + "\n")
    return sequences


def vocabulary_size(run, model):
    done = run("tokenize", "-m", model, env={"LOG_LEVEL": "info"})
    return int(re.search(rb"tokenizer ready .*?: (\d+) tokens", done.stderr)[1])


def test_eval_logits_are_bit_identical_in_every_batch(run, tiny_model_path, tmp_path):
    n_vocab = vocabulary_size(run, tiny_model_path)
    tokens = tmp_path / "tokens"
    write_sequences(tokens, [7, 1, 33, 20], n_vocab)
    results = []
    for more in (["--chunk", "64"], ["--chunk", "1"], ["--chunk", "5", "--threads", "1"],
                 ["--chunk", "9", "--together"], ["--chunk", "200", "--together"]):
        out = tmp_path / f"out{len(results)}.npy"
        run("eval", "-m", tiny_model_path, "--tokens", tokens, "--logits", out, *more)
        results.append(np.load(out))
    assert results[0].shape == (61, n_vocab) and results[0].dtype == np.float32
    assert np.isfinite(results[0]).all() and results[0].std() > 0
    for other in results[1:]:
        assert np.array_equal(results[0].view(np.uint32), other.view(np.uint32))


def test_eval_perplexity_agrees_with_the_logits(run, tiny_model_path, tmp_path):
    text = tmp_path / "text"
    text.write_text("The quick brown fox, 你好世界, jumps over 42 lazy dogs.\n" * 30)
    ids = run("tokenize", "-m", tiny_model_path, "--ids", text).stdout.split()
    window = 64
    n = len(ids) // window
    assert n >= 2
    tokens = tmp_path / "tokens"
    tokens.write_bytes(b"\n".join(b" ".join(ids[i * window : (i + 1) * window]) for i in range(n)))
    out = tmp_path / "out.npy"
    run("eval", "-m", tiny_model_path, "--tokens", tokens, "--logits", out)
    logits = np.load(out).astype(np.float64)
    largest = logits.max(axis=1, keepdims=True)
    log_p = logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    losses = [
        -log_p[w * window + i, int(ids[w * window + i + 1])]
        for w in range(n)
        for i in range(window // 2, window - 1)
    ]
    done = run("eval", "-m", tiny_model_path, "--ppl", text, "-c", str(window))
    found = re.fullmatch(
        rb"perplexity ([\d.]+) \+/- ([\d.]+) \((\d+) tokens scored, (\d+) windows of 64\)\n",
        done.stdout,
    )
    assert found, done.stdout
    assert math.isclose(float(found[1]), math.exp(np.mean(losses)), rel_tol=1e-4)
    error = math.exp(np.mean(losses)) * np.std(losses, ddof=1) / math.sqrt(len(losses))
    assert math.isclose(float(found[2]), error, rel_tol=1e-2)
    assert int(found[3]) == len(losses) and int(found[4]) == n


def test_eval_refusals(run, tiny_model_path, tmp_path):
    short = tmp_path / "short"
    short.write_text("few words")
    done = run("eval", "-m", tiny_model_path, "--ppl", short, check=False)
    assert done.returncode == 2 and b"less than one window" in done.stderr
    short.write_text("1 2 99999999\n")
    done = run("eval", "-m", tiny_model_path, "--tokens", short, "--logits", tmp_path / "o",
               check=False)
    assert done.returncode == 2 and b"99999999" in done.stderr
    short.write_text("\n\n")
    done = run("eval", "-m", tiny_model_path, "--tokens", short, "--logits", tmp_path / "o",
               check=False)
    assert done.returncode == 2 and b"holds no sequence" in done.stderr
    short.write_text("1 2\n")
    done = run("eval", "-m", tiny_model_path, "--tokens", short, "--logits", "/nowhere/o.npy",
               check=False)
    assert done.returncode == 1 and b"/nowhere/o.npy" in done.stderr


# ---- serve ----------------------------------------------------------------------------------------


def test_serve_logs_each_stage_with_its_time(start_server):
    server = start_server("--parallel", "2", "--ctx-size", "256", "--queue", "3")
    log = server.log_with("info    ready (")
    stages = [
        r"info +kinglet \d+\.\d+\.\d+ starts",
        rf"info +listening on http://127\.0\.0\.1:{server.port} \(\d+\.\d\d s after the start\)",
        r"info +model \S+ \(\d+\.\d\d s\): \S+, [\d.]+ MB, \d+ tensors",
        r"info +tokenizer ready \(\d+\.\d\d s\): \d+ tokens",
        r"info +kernels: [\w.-]+ \(.*; this CPU has .*\)",
        r"info +weights ready \(\d+\.\d\d s, .*\): qwen2, \d+ layers",
        r"info +threads: \d+ for decoding, \d+ for prompts \(.*\)",
        r"info +memory: +[\d.]+ MB  weights",
        r"info +memory: +[\d.]+ MB  KV cache \(--ctx-size, --parallel, --cache-ram\)",
        r"info +memory: +[\d.]+ MB  in all",
        r"info +engine: 2 slots, 3 requests may wait, 256 tokens each; room for \d+ tokens in all",
        r"info +ready \(\d+\.\d\d s after the start\): ",
    ]
    at = 0
    for stage in stages:
        found = re.compile(stage).search(log, at)
        assert found, f"no {stage!r} after {log[:at][-200:]!r} in:\n{log}"
        at = found.end()
    assert server.stop() == 0


def test_threads_are_measured_once(start_server, tmp_path):
    def threads_line(*options):
        server = start_server("--offline", *options, env={"XDG_CACHE_HOME": str(tmp_path)})
        assert server.stop() == 0
        return re.search(r"threads: (.*)", server.log_text())[1]

    several = len(os.sched_getaffinity(0)) > 1
    assert "from --threads" in threads_line("--threads", 1)
    line = threads_line()
    if "other programs use the CPUs" in line:  # and so does the next start, or it measures
        assert several and "as measured before" not in threads_line()
    elif several:
        assert "measured in" in line
        assert "as measured before" in threads_line()
    line = threads_line("--threads", 1, "--threads-prefill", 2)
    assert line.startswith("1 for decoding, 2 for prompts")


def test_serve_refuses_public_addresses_without_keys(run, tiny_model_path):
    done = run("serve", "-m", tiny_model_path, "--host", "0.0.0.0", "--port", "0", check=False)
    assert done.returncode == 2
    assert b"--api-key-file" in done.stderr or b"no-auth" in done.stderr


@pytest.mark.parametrize(
    "content, code, said",
    [
        (None, 1, "cannot open"),
        ("", 2, "has no key"),
        ("# nothing\n\n", 2, "has no key"),
        ("short\n", 2, "line 1: a key has 8 to 512 characters, this one has 5"),
    ],
)
def test_serve_key_files(run, tiny_model_path, tmp_path, content, code, said):
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    done = run("serve", "-m", tiny_model_path, "--api-key-file", path, check=False)
    assert done.returncode == code
    assert said in done.stderr.decode()

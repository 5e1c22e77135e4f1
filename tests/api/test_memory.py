"""--memory: the budget is kept, or refused with the plan that exceeds it."""

import re
import threading

import pytest
from api_client import complete, health

MIB = 1 << 20
BUDGET = 512 * MIB
STORY = "Once upon a time there was a lighthouse at the end of the world, and in it lived a cat. "


def peak_resident(server):
    """VmHWM, bytes."""
    status = open(f"/proc/{server.pid}/status").read()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def test_the_budget_is_kept(start_server, model_path):
    patient = ("--max-wait", 0, "--max-seconds", 0)  # the computer may be busy
    options = ("--memory", "512M", "--ctx-size", 4096, *patient)
    server = start_server("--offline", *options, model=model_path)
    room = int(re.search(r"room for (\d+) tokens in all", server.log_with("tokens in all"))[1])
    assert 4096 <= room < 4 * 4096
    assert health(server)["kv_cache_max"] == room

    def chat(words):
        text = STORY * words
        answers.append(complete(server, [{"role": "user", "content": text}], max_tokens=16))

    # more than the KV cache holds at once, one of them nearly as long as the context
    answers = []
    threads = [threading.Thread(target=chat, args=(n,)) for n in (165, 100, 90, 80, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == len(threads)
    assert max(a["usage"]["prompt_tokens"] for a in answers) > 3500
    assert health(server)["requests_failed"] == 0
    assert peak_resident(server) < BUDGET


@pytest.mark.parametrize("command", ["serve", "chat", "bench"])
def test_a_plan_over_the_budget_is_refused(run_kinglet, tiny_model_path, command):
    arguments = {"serve": ["--port", 0], "chat": ["Hello"], "bench": ["--only", "prefill"]}[command]
    done = run_kinglet(command, "-m", tiny_model_path, "--memory", "10M", *arguments, check=False)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert re.search(r"memory: +[\d.]+ MB  weights", said)
    assert re.search(r"memory: +[\d.]+ MB  in all, of 10.5 MB", said)
    assert "the memory budget of 10.5 MB is too small" in said and "raise --memory" in said


def test_weights_that_cannot_fit_are_not_packed(run_kinglet, model_path, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    done = run_kinglet("serve", "-m", model_path, "--memory", "390M", "--port", 0, env=env, check=False)
    said = done.stderr.decode()
    assert done.returncode == 1 and "smaller model ('kinglet pull --list')" in said
    assert "Packing" not in said and not list(tmp_path.rglob("*.packed"))


@pytest.mark.parametrize("size", ["", "M", "512X", "-1", "1.5G", "0", "99999999999999999999"])
def test_invalid_sizes(run_kinglet, tiny_model_path, size):
    done = run_kinglet("serve", "-m", tiny_model_path, f"--memory={size}", check=False)
    assert done.returncode == 2 and b"--memory takes" in done.stderr

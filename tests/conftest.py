"""Fixtures for all Python tests: the program, the models, and servers that always end with the test.

Environment (test.sh sets all of it; each variable has a default for manual runs):
  KINGLET_BUILD_DIR        the Meson build directory (build/release)
  KINGLET_BIN              the program (found in the build directory)
  KINGLET_TEST_MODEL       the real model (the first one in kinglet's cache)
  KINGLET_TEST_SMOLLM      SmolLM2 135M, a real model of the architecture llama (in the cache)
  KINGLET_TEST_TINY_MODEL  a tiny random model (created once per session)
  KINGLET_TEST_DEBIAN      an empty Debian system (build/debian-root.tar)
A missing file fails the tests that need it; no test is skipped silently.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
sys.path.insert(0, str(TESTS / "tools"))
import computers  # noqa: E402
from faults import Faults  # noqa: E402

SELECTIONS = tomllib.loads((TESTS / "selection.toml").read_text())

START_SECONDS = 120  # the first start repacks the weights, and sanitizer builds are slow
STOP_SECONDS = 30
MODELS = (
    "qwen2.5-0.5b-instruct-q4_k_m.gguf",
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
)
SMOLLM = "SmolLM2-135M-Instruct.Q4_1.gguf"

# Texts in reports of sanitizers; a server that logged one has failed, even if its answers were right.
SANITIZER_REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")


def pytest_addoption(parser):
    parser.addoption(
        "--selection",
        choices=SELECTIONS,
        help="leave out the tests that tests/selection.toml names for this part of test.sh",
    )


def is_left_out(item, part):
    """Whether a part of test.sh leaves a test out."""
    selection = SELECTIONS.get(part, {})
    fixtures, files, tests, repeated = (
        selection.get(kind, {}) for kind in ("fixtures", "files", "tests", "repeated")
    )
    return (
        not fixtures.keys().isdisjoint(item.fixturenames)
        or item.path.stem in files
        or f"{item.path.stem}::{item.originalname}" in tests
        or item.path.stem in repeated and not is_left_out(item, "sanitize")
    )


def pytest_collection_modifyitems(config, items):
    left_out = [i for i in items if is_left_out(i, config.getoption("--selection"))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [i for i in items if i not in left_out]


def cache_dir():
    """Returns the directory of kinglet's files (src/base/paths.h)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "kinglet"


def existing(path, what, variable):
    path = Path(path)
    if not path.is_file():
        pytest.fail(f"{what}: {path} does not exist; build it with ./test.sh or set {variable}")
    return path


@pytest.fixture(scope="session")
def share_prepared():
    """share_prepared(own, *names): gives the cache directory `own` the files in these directories of the
    usual one, which take long to prepare. Uses hard links, since links to directories are not followed
    there."""

    def share(own, *names):
        for name in names:
            (own / name).mkdir(mode=0o700, parents=True)
            usual = cache_dir() / name
            for file in usual.iterdir() if usual.exists() else ():
                if file.suffix == ".tmp":
                    continue
                try:
                    (own / name / file.name).hardlink_to(file)
                except OSError:  # another file system
                    shutil.copy2(file, own / name)

    return share


@pytest.fixture(scope="session")
def build_dir():
    return Path(os.environ.get("KINGLET_BUILD_DIR", REPOSITORY / "build" / "release"))


@pytest.fixture(scope="session")
def kinglet(build_dir):
    """The path of the program."""
    default = build_dir / "src" / "cli" / "kinglet"
    return existing(os.environ.get("KINGLET_BIN", default), "the program", "KINGLET_BIN")


@pytest.fixture(scope="session")
def model_path():
    """The real model: Qwen2.5 0.5B in Q4_K_M."""
    found = os.environ.get("KINGLET_TEST_MODEL")
    if not found:
        models = cache_dir() / "models"
        found = next((models / m for m in MODELS if (models / m).is_file()), models / MODELS[1])
    return existing(found, "the real model", "KINGLET_TEST_MODEL")


@pytest.fixture(scope="session")
def smollm_path():
    """SmolLM2 135M Instruct in Q4_1."""
    found = os.environ.get("KINGLET_TEST_SMOLLM") or cache_dir() / "models" / SMOLLM
    return existing(found, "SmolLM2", "KINGLET_TEST_SMOLLM")


@pytest.fixture(scope="session")
def make_tiny_model(tmp_path_factory):
    """make_tiny_model(*options) -> path: runs tests/tools/make_tiny_model.py, once per options."""
    made = {}

    def make(*options):
        if options not in made:
            path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
            tool = TESTS / "tools" / "make_tiny_model.py"
            subprocess.run([sys.executable, str(tool), str(path), *options], check=True)
            made[options] = path
        return made[options]

    return make


@pytest.fixture(scope="session")
def tiny_model_path(request):
    """A random qwen2 model of 3 layers with the real one's mix of types: fast, answers nonsense."""
    given = os.environ.get("KINGLET_TEST_TINY_MODEL")
    if given:
        return existing(given, "the tiny model", "KINGLET_TEST_TINY_MODEL")
    return request.getfixturevalue("make_tiny_model")()


@pytest.fixture(scope="session")
def debian_root():
    """An empty Debian system as a tar file, of tests/tools/make_debian_root.py. Needs root."""
    if os.geteuid() != 0:
        pytest.fail("tests in a separate Debian system need chroot: run this as root")
    default = REPOSITORY / "build" / "debian-root.tar"
    path = os.environ.get("KINGLET_TEST_DEBIAN", default)
    return existing(path, "the Debian system", "KINGLET_TEST_DEBIAN")


@pytest.fixture(scope="session")
def run_kinglet(kinglet):
    """run_kinglet(*args, input=None, env=None, timeout=600, check=True) -> CompletedProcess with
    stdout and stderr as bytes. Standard input is empty unless given."""

    def run(*args, input=b"", env=None, timeout=600, check=True):
        done = subprocess.run(
            [str(kinglet), *map(str, args)],
            input=input,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        if check and done.returncode != 0:
            pytest.fail(
                f"kinglet {' '.join(map(str, args))} ended with {done.returncode}:\n"
                + done.stderr.decode(errors="replace")[-4000:]
            )
        return done

    return run


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A running `kinglet serve`, here or on another computer (computers.py)."""

    def __init__(self, command, port, log, env, stderr=None, computer=None):
        self.port = port
        self.computer = computer
        self.base_url = f"http://127.0.0.1:{port}"
        self.log = Path(log)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=stderr or out, env=env
            )
        self.pid = self.process.pid

    def log_text(self):
        return self.log.read_text(errors="replace")

    def wait_until(self, condition, what):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = self.process.poll()
            if code is not None:
                pytest.fail(f"the server ended with {code} at its start:\n{self.log_text()[-4000:]}")
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        self.stop()
        pytest.fail(f"the server did not {what} in {START_SECONDS} s:\n{self.log_text()[-4000:]}")

    def connect(self, timeout):
        """Connects from the server's computer."""
        if self.computer is not None:
            return self.computer.connect("127.0.0.1", self.port, timeout)
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def is_listening(self):
        self.connect(timeout=1).close()
        return True

    def is_ready(self):
        """Whether the model is loaded: the status of /health is 200."""
        with self.connect(timeout=10) as s:
            s.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return s.recv(64).split(b" ", 2)[1] == b"200"

    def wait_until_listening(self):
        self.wait_until(self.is_listening, "listen")

    def wait_until_ready(self):
        self.wait_until(self.is_ready, "load the model")

    def log_with(self, part):
        """Returns the log, once it has this text: a separate thread writes it, a little later."""
        self.wait_until(lambda: part in self.log_text(), f"log {part!r}")
        return self.log_text()

    def stop(self):
        """Ends it (SIGTERM, and SIGKILL if that has no effect) and returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def end(self):
        """Same as stop(), at the end of a test: a server that still runs must exit with 0, and no
        sanitizer may have reported anything."""
        running = self.process.poll() is None
        code = self.stop()
        log = self.log_text()
        assert not any(r in log for r in SANITIZER_REPORTS), log[-8000:]
        assert not running or code == 0, f"SIGTERM ended the server with {code}:\n{log[-4000:]}"


@pytest.fixture(scope="session")
def server_factory(kinglet, tmp_path_factory):
    """start(*args, model, env=None, ready=True, stderr=None, computer=None) -> Server; the caller
    ends it. It is ready to answer, or with ready=False it listens and may still be loading the
    model. stderr: a descriptor instead of the file. computer: a computer of computers.py to run on."""

    def start(*args, model, env=None, ready=True, stderr=None, computer=None):
        port = free_port()
        log = tmp_path_factory.mktemp("server") / "server.log"
        command = [str(kinglet), "serve", "--model", str(model), "--port", str(port)]
        command += [str(a) for a in args]
        if computer is not None:
            command = computer.command(*command)
        server = Server(command, port, log, {**os.environ, **(env or {})}, stderr, computer)
        if ready:
            server.wait_until_ready()
        else:
            server.wait_until_listening()
        return server

    return start


@pytest.fixture
def start_server(server_factory, request):
    """start_server(*args, model=None, ...) -> Server on a free port of 127.0.0.1
    that can answer, with .base_url .port .pid .log .log_text() .stop(). model: the tiny one unless
    given. Every server is ended when the test is."""
    started = []

    def start(*args, model=None, **options):
        if model is None:
            model = request.getfixturevalue("tiny_model_path")
        started.append(server_factory(*args, model=model, **options))
        return started[-1]

    yield start
    errors = []
    for server in started:
        try:
            server.end()
        except AssertionError as e:  # the other servers are ended anyway
            errors.append(str(e))
    assert not errors, "\n".join(errors)


@pytest.fixture
def two_computers():
    """(box, other): two computers with a network between them; see computers.py. Needs root."""
    with computers.two_computers() as both:
        yield both


class HeldServer:
    """A server held in the middle of its start: it waits for a model of the catalogue that another
    process (the test, by its lock) seems to download, until the test releases it."""

    def __init__(self, start_server, directory, model, options):
        self.model = model
        self.name = model.stem.removesuffix("-q4_k_m")
        self.path = directory / "kinglet" / "models" / model.name
        self.path.parent.mkdir(parents=True)
        self.lock = open(f"{self.path}.part", "wb")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        nowhere = "http://127.0.0.1:9"
        env = {"XDG_CACHE_HOME": str(directory), "PATH": "/nowhere"}
        env |= {"HF_ENDPOINT": nowhere, "MODELSCOPE_ENDPOINT": nowhere}
        self.server = start_server(*options, model=self.name, env=env, ready=False)
        said = f"Another process is downloading {self.name}"
        self.server.wait_until(lambda: said in self.server.log_text(), "wait for the model")

    def give(self):
        """Makes the model available."""
        self.path.symlink_to(self.model)
        self.lock.close()

    def give_up(self):
        """Makes the model unavailable."""
        self.lock.close()


@pytest.fixture
def hold_server(start_server, tmp_path):
    """hold_server(*args, model=None) -> HeldServer. It needs a model to continue."""
    held = []

    def hold(*args, model=None):
        held.append(HeldServer(start_server, tmp_path, model or Path(MODELS[1]), args))
        return held[-1]

    yield hold
    for h in held:
        try:
            h.server.end()  # ended while it is held: released, it might fail before SIGTERM
        finally:
            h.lock.close()


@pytest.fixture(scope="module")
def faults(build_dir, tmp_path_factory):
    """Makes allocations and writes fail in a server that is started with env=faults.env. Not under
    sanitizers: their runtime must be the first to handle an allocation."""
    library = existing(build_dir / "tests/tools/libfaults.so", "the faults", "KINGLET_BUILD_DIR")
    return Faults(library, tmp_path_factory.mktemp("faults") / "numbers")


@pytest.fixture(scope="session")
def jumping_clock(build_dir):
    """The environment of a program whose wall clock jumps. Not under sanitizers, like `faults`."""
    library = existing(build_dir / "tests/tools/libjumping_clock.so", "the clock",
                       "KINGLET_BUILD_DIR")  # fmt: skip
    return {"LD_PRELOAD": str(library)}


@pytest.fixture(scope="session")
def server(server_factory, model_path):
    """One server on the real model for the whole session."""
    server = server_factory(model=model_path)
    yield server
    server.end()

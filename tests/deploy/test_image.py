"""Dockerfile: the image is built by buildah from the test's Debian system, and then run like by a
container engine: in separate namespaces, read-only, as the user that it names."""

import ipaddress
import json
import os
import shutil
import signal
import subprocess

import pytest
from api_client import CHAT, HELLO, wait_until
from proxies import DEPLOY, SOON

REPOSITORY = DEPLOY.parent
MAX_BYTES = 40e6  # without the model
MAX_SECONDS = 1800  # for the build; only guards against hanging
pytestmark = pytest.mark.timeout(2 * MAX_SECONDS)

# Arguments: ROOT CACHE COMMAND... Only /proc and the volume are mounted; the network is empty.
RUN = """
set -e
root=$1 cache=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$cache" "$root/cache"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
ip link set lo up
exec chroot --userspec="$USERSPEC" --groups= "$root" "$@"
"""


class Builder:
    """buildah with a separate store."""

    def __init__(self, directory):
        self.store = ["--root", directory / "store", "--runroot", directory / "run"]
        self.environment = os.environ | {"TMPDIR": str(directory)}

    def __call__(self, *command):
        done = subprocess.run(
            [str(c) for c in ("buildah", "--storage-driver", "vfs", *self.store, *command)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment,
            timeout=MAX_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_model_path):
    """The working tree of the repository, with uncommitted changes, and a model."""
    copy = tmp_path_factory.mktemp("source")
    names = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in names:
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
    shutil.copy(tiny_model_path, copy / "tiny.gguf")
    return copy


class Image:
    """.config, and .root: the directory with its files."""

    def __init__(self, builder, name):
        described = json.loads(builder("inspect", "--type", "image", name))
        self.config = described["Docker"]["config"]
        self.root = builder("mount", builder("from", name))


@pytest.fixture(scope="module")
def image(debian_root, source, tmp_path_factory):
    """The image, built with the tiny model; and with few tiers and little optimisation, which takes half
    the time."""
    directory = tmp_path_factory.mktemp("buildah")
    builder = Builder(directory)
    base = builder("from", "scratch")
    builder("add", "--quiet", base, debian_root, "/")
    builder("commit", "--quiet", "--rm", base, "localhost/debian")
    builder(
        "build", "--isolation", "chroot", "--network", "host", "--layers=false", "--format",
        "docker", "--build-arg", "BASE=localhost/debian", "--build-arg", "MODEL=tiny.gguf",
        "--build-arg", "OPTIONS=-Doptimization=1 -Dtiers=common", "--tag", "localhost/kinglet", source,
    )  # fmt: skip
    yield Image(builder, "localhost/kinglet")
    builder("rm", "--all")
    shutil.rmtree(directory)


class Container:
    def __init__(self, image, cache, log, command=None, environment=()):
        self.user = image.config["User"]
        os.makedirs(os.path.join(image.root, "proc"), exist_ok=True)  # like container engines
        variables = dict(v.split("=", 1) for v in image.config["Env"]) | dict(environment)
        line = image.config["Entrypoint"] + (command or image.config["Cmd"])
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--propagation", "private",
                 "sh", "-c", RUN, "sh", image.root, cache, *line],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=variables | {"USERSPEC": self.user, "PATH": os.environ["PATH"]},
            )  # fmt: skip
        self.log = log

    def pid(self):
        """The pid of the program, which is process 1 of the container; None before it was started."""
        parent = self.process.pid
        with open(f"/proc/{parent}/task/{parent}/children") as children:
            return next(map(int, children.read().split()), None)

    def run(self, *command):
        """Runs a command of the image inside the container."""
        uid, gid = self.user.split(":")
        return subprocess.run(
            ["nsenter", "-t", str(self.pid()), "-m", "-n", "-r", "-w", "-S", uid, "-G", gid,
             *command],
            capture_output=True, timeout=SOON,
        )  # fmt: skip

    def is_ready(self, port):
        assert self.process.poll() is None, self.log.read_text()
        if self.pid() is None:
            return False
        return self.run("/usr/bin/curl", "-f", f"http://127.0.0.1:{port}/ready").returncode == 0

    def is_healthy(self, image):
        kind, *command = image.config["Healthcheck"]["Test"]
        assert kind == "CMD"  # there is no shell
        return self.run(*command).returncode == 0

    def listens_on(self):
        """Returns the addresses it listens on, IPv4 and IPv6."""
        found = set()
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{self.pid()}/net/{table}") as lines:
                for _, local, _, state, *_ in map(str.split, list(lines)[1:]):
                    raw = bytes.fromhex(local.partition(":")[0])
                    words = (raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
                    if state == "0A":
                        found.add(str(ipaddress.ip_address(b"".join(words))))
        return found

    def ask(self, path, body=None):
        data = [] if body is None else ["-d", json.dumps(body)]
        done = self.run("/usr/bin/curl", "-sS", *data, f"http://127.0.0.1:7860{path}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def start_container(image, tmp_path):
    """start_container(port=7860, command=None, environment=()) -> Container that is ready on this port;
    its volume is tmp_path/cache."""
    cache = tmp_path / "cache"
    cache.mkdir()
    os.chown(cache, *map(int, image.config["User"].split(":")))
    started = []

    def start(port=7860, **options):
        started.append(Container(image, cache, tmp_path / "log", **options))
        wait_until(lambda: started[-1].is_ready(port), "it does not get ready")
        return started[-1]

    yield start
    for container in started:
        if container.process.poll() is None:
            os.kill(container.pid(), signal.SIGTERM)
        # as process 1 it must handle the signal itself
        assert container.process.wait(SOON) == 0, container.log.read_text()


def test_the_image_is_small(image):
    files = [os.path.join(d, n) for d, _, names in os.walk(image.root) for n in names]
    assert os.path.join(image.root, "model.gguf") in files
    size = sum(os.lstat(f).st_size for f in files if not f.endswith("/model.gguf"))
    assert 10e6 < size < MAX_BYTES
    programs = {f.removeprefix(image.root) for f in files if "/bin/" in f}
    assert programs == {"/usr/bin/kinglet", "/usr/bin/curl"}


def test_only_the_volume_is_writable(image):
    """No other file belongs to its user or is writable for all."""
    uid, gid = map(int, image.config["User"].split(":"))
    assert uid != 0 and gid != 0 and image.config["Volumes"] == {"/cache": {}}
    assert os.stat(image.root).st_uid == 0
    for directory, names, files in os.walk(image.root):
        for name in names + files:
            path = os.path.join(directory, name)
            found = os.lstat(path)
            if path == os.path.join(image.root, "cache"):
                assert (found.st_uid, found.st_gid) == (uid, gid)
            else:
                assert (found.st_uid, found.st_gid, found.st_mode & 0o022) == (0, 0, 0), path


OPEN = ["serve", "--host", "0.0.0.0", "--no-auth"]
OPENED_BY = "--host 0.0.0.0 and --api-key-file FILE, or --no-auth"


def test_the_image_serves(image, start_container):
    """Without options it serves the built-in model, on loopback only; the log says how to open it."""
    container = start_container()
    assert container.is_healthy(image)
    assert container.listens_on() == {"127.0.0.1"}
    assert OPENED_BY in "".join(container.log.read_text().splitlines()[:3])
    assert image.config["ExposedPorts"] == {"7860/tcp": {}}
    assert container.ask("/health")["status"] == "ok"
    assert container.ask("/v1/models")["data"][0]["id"] == "model"
    answer = container.ask(CHAT, {"messages": HELLO, "max_tokens": 4})
    assert answer["choices"][0]["message"]["content"]
    with open(f"/proc/{container.pid()}/status") as status:
        said = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
    assert set(said["Uid"].split()) == {image.config["User"].split(":")[0]}
    assert int(said["CapEff"], 16) == 0


def test_a_model_of_the_volume(start_container, tiny_model_path, tmp_path):
    """With other options and another model; prepared files are stored in the volume."""
    shutil.copy(tiny_model_path, tmp_path / "cache" / "mounted.gguf")
    command = [*OPEN, "--ctx-size", "2048"]
    container = start_container(
        command=command, environment={"KINGLET_MODEL": "/cache/mounted.gguf"}
    )
    assert container.listens_on() == {"0.0.0.0"} and OPENED_BY not in container.log.read_text()
    assert container.ask("/health")["ctx_size"] == 2048
    assert container.ask("/v1/models")["data"][0]["id"] == "mounted"
    assert list((tmp_path / "cache" / "kinglet" / "packed").glob("*.packed"))


def test_the_health_check_fails(image, start_container):
    """No server is ready on the port that HEALTHCHECK uses."""
    command = [*OPEN, "--port", "7861"]
    container = start_container(command=command, port=7861)
    assert not container.is_healthy(image)

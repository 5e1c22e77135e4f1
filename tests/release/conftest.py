"""The packages of tools/release (KINGLET_TEST_PACKAGES, or build/packages): unpacked, and installed in
an empty Debian system, which needs root. That system uses the apt mirror and settings of this one, and
sees nothing else of it but /proc."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ARCHITECTURES = {"amd64": "X86-64", "arm64": "AArch64"}  # the names of readelf

# files that apt and dpkg keep after packages are removed
BOOKKEEPING = ("var/lib/apt", "var/lib/dpkg", "var/cache/apt", "var/log", "proc", "tmp")
INSIDE = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "XDG_CACHE_HOME": "/tmp/cache",
}


def output_of(*command, **more):
    return subprocess.run(
        [str(c) for c in command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        **more,
    ).stdout.decode("utf-8")


@pytest.fixture(scope="session")
def packages():
    """The directory with SHA256SUMS and the files listed there."""
    path = Path(os.environ.get("KINGLET_TEST_PACKAGES", REPOSITORY / "build" / "packages"))
    if not (path / "SHA256SUMS").is_file():
        pytest.fail(f"{path} has no packages; make them with tools/release")
    return path


@pytest.fixture(scope="session")
def version():
    text = (REPOSITORY / "meson.build").read_text()
    return text.split("version: '")[1].split("'")[0]


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="session")
def deb_of(packages, version):
    """deb_of(architecture) -> path"""
    return lambda architecture: packages / f"kinglet_{version}_{architecture}.deb"


@pytest.fixture(scope="session")
def unpack(deb_of, tmp_path_factory):
    """unpack(architecture) -> directory with the content of the Debian package"""
    done = {}

    def run(architecture):
        if architecture not in done:
            done[architecture] = tmp_path_factory.mktemp(architecture)
            output_of("dpkg-deb", "-x", deb_of(architecture), done[architecture])
        return done[architecture]

    return run


@pytest.fixture(scope="session")
def root(packages, debian_root):
    """The directory of an empty Debian system."""
    path = packages.parent / "debian-root"
    if path.exists():  # left by a run that was killed
        subprocess.run(["umount", "--quiet", "--lazy", path / "proc"])
        shutil.rmtree(path)
    path.mkdir()
    subprocess.run(["tar", "-C", path, "--numeric-owner", "-xpf", debian_root], check=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", path / "etc" / name)
    subprocess.run(["mount", "-t", "proc", "proc", path / "proc"], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path / "proc"], check=True)
    shutil.rmtree(path)


def run_inside(root, *command):
    environment = {**os.environ, **INSIDE}
    done = subprocess.run(
        ["chroot", root, *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-4000:]


def files_of(root):
    found = set()
    for directory, names, files in os.walk(root):
        relative = Path(directory).relative_to(root)
        names[:] = [n for n in names if str(relative / n) not in BOOKKEEPING]
        found |= {str(relative / n) for n in names + files}
    return found


@pytest.fixture(scope="session")
def installed(root, deb_of, tiny_model_path):
    """The system with the package installed: its directory, and its files before."""
    before = files_of(root)
    shutil.copy(deb_of("amd64"), root / "tmp" / "kinglet.deb")
    shutil.copy(tiny_model_path, root / "tmp" / "tiny.gguf")
    run_inside(root, "apt-get", "update", "-q")
    run_inside(root, "apt-get", "install", "-q", "-y", "--no-install-recommends", "/tmp/kinglet.deb")
    return root, before


@pytest.fixture(scope="session")
def kinglet(installed):
    """The installed program, which run_kinglet and start_server use (tests/conftest.py)."""
    root, _ = installed
    script = root / "tmp" / "kinglet"
    settings = " ".join(f"{name}={value}" for name, value in INSIDE.items())
    script.write_text(f'#!/bin/sh\nexec env {settings} chroot {root} kinglet "$@"\n')
    script.chmod(0o755)
    return script

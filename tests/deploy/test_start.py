"""start.sh where there is no apt, with the programs of a system that has none: what it tells to install,
and how it goes on when that is done."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ALWAYS = "bash cat dirname env getconf grep mkdir printf sed sh tail".split()
BUILDING = "gcc meson ninja pkg-config python3 npm".split()
# of each package manager: its command, and names that differ from Debian's
MANAGERS = {
    "dnf": ("dnf install ", {"ninja-build", "jansson-devel", "utf8proc-devel", "libcurl-devel"}),
    "pacman": ("pacman -S --needed ", {"ninja", "jansson", "libutf8proc", "curl"}),
    "zypper": ("zypper install ", {"ninja", "libjansson-devel", "utf8proc-devel", "npm-default"}),
    "apk": ("apk add ", {"samurai", "musl-dev", "utf8proc-dev", "libqrencode-dev"}),
}


@pytest.fixture
def elsewhere(tmp_path):
    """A clone with nothing but start.sh and its list, and `bin`, which is all of PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tools").mkdir()
    shutil.copy(REPOSITORY / "start.sh", tmp_path)
    shutil.copy(REPOSITORY / "tools" / "packages.txt", tmp_path / "tools")
    for name in ALWAYS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


def add(place, name, *lines):
    script = place / "bin" / name
    script.write_text("\n".join(["#!/bin/sh", f'echo "{name} $*" >>{place}/calls', *lines]) + "\n")
    script.chmod(0o755)


def start(place, *options):
    environment = {"PATH": str(place / "bin"), "HOME": str(place), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [place / "start.sh", *(options or ["--offline"])], env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_command_of_the_package_manager(elsewhere, manager):
    add(elsewhere, manager)
    code, out, _ = start(elsewhere)
    command, names = MANAGERS[manager]
    (line,) = [line for line in out.splitlines() if line.startswith("  ")]
    assert code == 1 and line.startswith(f"  {command}")
    assert names <= set(line.split()) and "_" not in line
    assert len(line.removeprefix(f"  {command}").split()) == len(set(line.split()) - {*command.split()})
    assert "are missing: gcc meson ninja pkg-config python3 npm libevent jansson" in out
    assert not (elsewhere / "calls").exists()  # nothing was installed


def test_a_system_without_a_package_manager_that_is_known(elsewhere):
    for name in BUILDING:
        add(elsewhere, name)
    add(elsewhere, "pkg-config", '[ "$2" != libedit ]')
    code, out, _ = start(elsewhere)
    assert code == 1 and "are missing: libedit." in out and "run ./start.sh again" in out


def test_npm_brings_the_libraries_of_the_page_once(elsewhere):
    for name in BUILDING:
        add(elsewhere, name)
    add(elsewhere, "meson", "echo a reason; exit 1")
    for _ in range(2):
        code, _, err = start(elsewhere)
        assert code == 1 and "a reason" in err and "meson could not set up the build" in err
    calls = (elsewhere / "calls").read_text().splitlines()
    (npm,) = [line for line in calls if line.startswith("npm ")]
    for name in ("marked", "dompurify", "highlight.js", "katex", "esbuild"):
        assert f" {name}@" in npm
    assert "--ignore-scripts" in npm


def test_what_npm_cannot_install_is_said(elsewhere):
    for name in BUILDING:
        add(elsewhere, name)
    add(elsewhere, "npm", "echo no network >&2; exit 1")
    code, _, err = start(elsewhere)
    assert code == 1 and "no network" in err and "npm could not install marked@" in err
    assert not os.path.exists(elsewhere / "build" / "page" / "installed")


@pytest.mark.parametrize(
    "options, pulled",
    [
        ((), [""]),
        (("--offline",), []),
        (("-m", "a", "--model=b/c:Q4", "-md", "--model", "./e.gguf", "-m", "/f"), [" a", " b/c:Q4", " d"]),
        (("--models", "g"), []),
    ],
)
def test_each_model_is_downloaded_before_the_start(elsewhere, options, pulled):
    add(elsewhere, "ninja", "echo ninja: no work to do.")
    add(elsewhere, "kinglet", '[ "$1 $2" != "pull --offline" ]')  # nothing is here
    (elsewhere / "build/release/src/cli").mkdir(parents=True)
    (elsewhere / "build/release/build.ninja").touch()
    (elsewhere / "bin/kinglet").rename(elsewhere / "build/release/src/cli/kinglet")
    code, _, err = start(elsewhere, *(options or ["--port", "1"]))
    assert code == 0, err
    calls = [c for c in (elsewhere / "calls").read_text().splitlines() if c.startswith("kinglet ")]
    downloads = [c for c in calls[:-1] if "--offline" not in c]
    assert downloads == [f"kinglet pull{name}" for name in pulled]
    assert calls[-1] == " ".join(["kinglet serve", *(options or ["--port", "1"])])

"""`kinglet cache` lists and removes models of repositories, models in several files and unfinished downloads."""

import json
import os
import shutil
import time

import pytest
from split_model import split

REPO = "Some/Model-GGUF"
TICK = 0.05  # seconds; a file that was changed later than that is not remembered


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def models(home):
    return home / "cache" / "kinglet" / "models"


@pytest.fixture
def run(run_kinglet, home):
    """run(*args) -> CompletedProcess, with a home of its own."""
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "HF_HOME": "", "HF_HUB_CACHE": "",
           "OLLAMA_MODELS": "", "KINGLET_MODEL": "", "LOG_LEVEL": ""}  # fmt: skip
    return lambda *args, check=True: run_kinglet(*args, env=env, check=check)


@pytest.fixture
def full(models, tiny_model_path):
    """A file of a repository, a model in several files, an unfinished download; all else is far away."""
    (models / REPO).mkdir(parents=True, mode=0o700)
    shutil.copy(tiny_model_path, models / REPO / "one-Q4_K_M.gguf")
    split(tiny_model_path, models / REPO / "two-Q8_0", 10)
    (models / "half.gguf.part").write_bytes(b"x" * 5000)
    time.sleep(TICK)


def items(run):
    return {i["name"]: i for i in json.loads(run("cache", "--json").stdout)["items"]}


def test_models_of_repositories_are_listed(run, full, models, tiny_model_path):
    found = items(run)
    n = len(list((models / REPO).glob("two-*")))
    assert n > 2 and set(found) == {
        f"{REPO}/one-Q4_K_M.gguf", f"{REPO}/two-Q8_0-00001-of-{n:05}.gguf", "half.gguf.part"
    }  # fmt: skip
    whole, parts = (found[f"{REPO}/{name}"]["bytes"] for name in ("one-Q4_K_M.gguf", f"two-Q8_0-00001-of-{n:05}.gguf"))
    assert abs(whole - parts) < 100_000  # of all parts
    assert f"{REPO}/one-Q4_K_M.gguf" in run("cache").stdout.decode()


@pytest.mark.parametrize("name", [REPO, f"{REPO}:Q4_K_M", "one-q4_k_m", f"{REPO}/one-Q4_K_M.gguf", f"{REPO}/one-Q4_K_M"])
def test_a_model_is_removed_by_each_of_its_names(run, full, models, name):
    done = json.loads(run("cache", "clean", "--json", name).stdout)
    assert done["files"] == 1 and done["bytes"] > 100_000
    assert [path.name[:3] for path in (models / REPO).iterdir()] == ["two"] * len(os.listdir(models / REPO))


def test_all_parts_and_their_weights_are_removed(run, full, models, home):
    run("chat", "-m", f"{REPO}:Q8_0", "-t", 1, "-n", 2, "hi")
    packed = home / "cache" / "kinglet" / "packed"
    assert len(list(packed.glob("*.packed"))) == 1
    run("cache", "clean", f"{REPO}:Q8_0")
    assert os.listdir(models / REPO) == ["one-Q4_K_M.gguf"] and not list(packed.glob("*.packed"))
    run("cache", "clean", REPO)
    assert os.listdir(models) == ["half.gguf.part"]  # nor are there empty directories
    run("cache", "clean", "half")
    assert os.listdir(models) == []


def test_a_model_with_a_missing_part_can_be_removed(run, full, models):
    first, second, *_ = sorted((models / REPO).glob("two-*"))
    second.unlink()
    run("cache", "clean", f"{REPO}/{first.name}")
    assert os.listdir(models / REPO) == ["one-Q4_K_M.gguf"]


def test_what_a_process_uses_is_kept(start_server, run, full, models, home):
    server = start_server("--offline", "-t", 1, model=f"{REPO}:Q8_0",
                          env={"XDG_CACHE_HOME": str(home / "cache"), "HOME": str(home)})  # fmt: skip
    before = sorted(os.listdir(models / REPO))
    done = run("cache", "clean", f"{REPO}:Q8_0", check=False)
    assert done.returncode == 1 and b"in use" in done.stderr
    assert sorted(os.listdir(models / REPO)) == before
    assert server.stop() == 0


def test_files_of_other_programs_are_not_removed(run, full, home):
    snapshot = home / "cache" / "huggingface" / "hub" / "models--Other--Repo" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    file = snapshot / "x-Q4_K_M.gguf"
    file.write_bytes(b"x")
    for name in ("Other/Repo", str(file)):
        done = run("cache", "clean", name, check=False)
        assert done.returncode == 1 and str(file).encode() in done.stderr and file.exists()
    assert not any("Other" in name for name in items(run))


@pytest.mark.parametrize("name", ["../../../x", "/etc/passwd", f"{REPO}/../../../x.gguf", "a b"])
def test_a_name_does_not_leave_the_directory(run, full, home, name):
    victim = home / "x.gguf"
    victim.write_bytes(b"x")
    done = run("cache", "clean", name, check=False)
    assert done.returncode in (1, 2) and victim.exists()


def test_a_link_goes_without_its_file(run, full, models, tmp_path):
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "y.gguf"
    real.write_bytes(b"y")
    (models / "Linked").symlink_to(tmp_path / "real")  # a directory: is not followed
    link = models / REPO / "z.gguf"
    link.symlink_to(real)
    assert f"{REPO}/z.gguf" in items(run) and not any("y.gguf" in name for name in items(run))
    assert run("cache", "clean", "Linked/y.gguf", check=False).returncode != 0
    run("cache", "clean", f"{REPO}/z.gguf")
    assert real.exists() and not link.is_symlink()

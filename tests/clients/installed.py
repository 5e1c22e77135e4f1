"""The packages of the clients: installed once, with fixed versions, below build/.

Environment: KINGLET_TEST_BUILD (instead of build/).
"""

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("KINGLET_TEST_BUILD") or HERE.parents[1] / "build").absolute()

# The name of a client: where its packages are, and the script. A Python environment is named after its
# file in requirements/; the clients in `python` agree about the versions of what they share.
CLIENTS = {
    "openai-python": ("openai-python", "try_openai_python.py"),
    "openai-node": ("node", "try_openai_node.mjs"),
    "ollama-python": ("python", "try_ollama_python.py"),
    "ollama-js": ("node", "try_ollama_js.mjs"),
    "langchain-openai": ("python", "try_langchain_openai.py"),
    "langchain-ollama": ("python", "try_langchain_ollama.py"),
    "litellm": ("python", "try_litellm.py"),
    "instructor": ("python", "try_instructor.py"),
    "pydantic-ai": ("python", "try_pydantic_ai.py"),
    "openai-agents": ("openai-agents", "try_openai_agents.py"),
    "ai-sdk": ("node", "try_ai_sdk.mjs"),
    "anthropic": ("python", "try_anthropic.py"),
    "llm": ("python", "try_llm.py"),
    "llama-index": ("llama-index", "try_llama_index.py"),
    "aider": ("aider", "try_aider.py"),
    "go-openai": ("go", "go_openai"),
    "home-assistant": ("python", "try_home_assistant.py"),
}


@contextmanager
def locked(name):
    """One process at a time installs into a directory."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def done_before(marker, wanted):
    return marker.is_file() and marker.read_bytes() == wanted


def install_python(name):
    """Returns the interpreter of a virtual environment with the packages of requirements/NAME.txt, which
    lists all of them, so nothing is resolved."""
    directory, requirements = BUILD / "clients" / name, HERE / "requirements" / f"{name}.txt"
    marker = directory / "requirements.txt"
    with locked(f"clients-{name}"):
        if not done_before(marker, requirements.read_bytes()):
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", directory], check=True)
            pip = [directory / "bin/pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "-r", requirements], check=True)
            shutil.copy(requirements, marker)
    return directory / "bin/python"


def install_node():
    """Returns the directory of the packages in package-lock.json."""
    directory = BUILD / "node"
    marker = directory / "installed.json"
    lock = HERE / "package-lock.json"
    with locked("node"):
        if not done_before(marker, lock.read_bytes()):
            directory.mkdir(exist_ok=True)
            for file in ("package.json", "package-lock.json"):
                shutil.copy(HERE / file, directory)
            npm = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefer-offline"]
            subprocess.run(npm, cwd=directory, check=True)
            shutil.copy(lock, marker)
    return directory / "node_modules"


def install_go(source):
    """Returns the program that is built of a module."""
    program = BUILD / "clients" / source.name
    with locked(source.name):
        # Go's library is compiled once, whatever the cache directory of the test
        env = {**os.environ, "GOCACHE": str(BUILD / "clients" / "go-cache")}
        subprocess.run(["go", "build", "-o", program, "."], cwd=source, env=env, check=True)
    return program


def install(name):
    """Returns the command that runs the client's script, and its environment."""
    kind, script = CLIENTS[name]
    env = {**os.environ, "CLIENT_SCRATCH": str(BUILD / "clients" / f"{name}-scratch")}
    if kind == "node":
        return ["node", HERE / script], {**env, "NODE_PATH": str(install_node())}
    if kind == "go":
        return [install_go(HERE / script)], env
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # the packages are compiled when they are installed
    python = install_python(kind)
    env["PATH"] = f"{python.parent}{os.pathsep}{env['PATH']}"  # for those that are commands
    return [python, "-B", HERE / script], env

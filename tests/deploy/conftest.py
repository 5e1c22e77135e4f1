"""Fixtures shared by the tests of deploy/."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

# Uses the clients of the API tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "api"))

from watching import start_prometheus, watched  # noqa: E402, F401  fixtures


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate of localhost: the files .crt and .key."""
    directory = tmp_path_factory.mktemp("certificate")
    files = SimpleNamespace(crt=directory / "kinglet.crt", key=directory / "kinglet.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", files.key, "-out",
         files.crt],
        check=True, capture_output=True,
    )  # fmt: skip
    return files

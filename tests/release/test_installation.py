"""The Debian package in an empty Debian system: installed, used and removed."""

import urllib.request

from conftest import files_of, run_inside

MODEL = "/tmp/tiny.gguf"


def test_the_program_runs(run_kinglet, version):
    assert run_kinglet("--version").stdout == f"kinglet {version}\n".encode()
    answer = ("chat", "--offline", "--model", MODEL, "-n", 8, "Hello")
    first = run_kinglet(*answer).stdout
    assert first.strip() and run_kinglet(*answer).stdout == first


def test_the_program_serves(start_server):
    server = start_server("--offline", model=MODEL)  # /health says 200
    request = urllib.request.Request(server.base_url + "/", headers={"Accept": "text/html"})
    with urllib.request.urlopen(request) as page:
        assert b"<title>" in page.read()


def test_removal_leaves_no_files(installed):
    """Runs after the tests above. apt also removes the packages that it installed with this one."""
    root, before = installed
    assert {"usr/bin/kinglet", "etc/default/kinglet"} <= files_of(root) - before
    run_inside(root, "apt-get", "purge", "-q", "-y", "--auto-remove", "kinglet")
    assert files_of(root) == before
    assert "kinglet" not in (root / "var/lib/dpkg/status").read_text()

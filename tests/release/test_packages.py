"""The content of the packages, and reproducible builds."""

import gzip
import os
import re
import shutil
import subprocess
import tarfile

import pytest
from conftest import ARCHITECTURES, REPOSITORY, output_of

COMMON = {
    "bin/kinglet",
    "lib/systemd/system/kinglet.service",
    "lib/systemd/system/kinglet.socket",
    "share/doc/kinglet/CHANGELOG.md",
    "share/doc/kinglet/README.md",
    "share/doc/kinglet/copyright",
    "share/man/man1/kinglet.1.gz",
}
COMMON |= {f"share/doc/kinglet/docs/{p.name}" for p in (REPOSITORY / "docs").glob("*.md")}
# parts of libc, of which the last two are empty in newer ones
LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}
LINKERS = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
GLIBC = (2, 31)  # of Debian 11 and Ubuntu 20.04
MAX_EXPOSURE = 2.0  # score of systemd-analyze security, 0 to 10


def test_the_checksums_are_of_these_files(packages, version):
    output_of("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=packages)
    named = {line.split()[1] for line in (packages / "SHA256SUMS").read_text().splitlines()}
    expected = {f"kinglet_{version}_{a}.deb" for a in ARCHITECTURES}
    expected |= {f"kinglet-{version}-linux-{a}.tar.gz" for a in ARCHITECTURES}
    assert named == expected


def test_the_files_of_the_tarball(packages, version, architecture):
    name = f"kinglet-{version}-linux-{architecture}"
    with tarfile.open(packages / f"{name}.tar.gz") as tar:
        files = {m.name: m for m in tar if m.isfile()}
        assert set(files) == {f"{name}/{f}" for f in COMMON | {"share/doc/kinglet/LICENSE"}}
        assert all(m.uid == m.gid == 0 for m in files.values())
        assert files[f"{name}/bin/kinglet"].mode == 0o755
        unit = tar.extractfile(f"{name}/lib/systemd/system/kinglet.service").read()
    assert b"ExecStart=/usr/local/bin/kinglet serve" in unit


def test_the_files_of_the_debian_package(unpack, architecture):
    root = unpack(architecture)
    files = {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir()}
    own = {"etc/default/kinglet", "usr/share/doc/kinglet/changelog.gz"}
    assert files == own | {f"usr/{f}" for f in COMMON}
    assert all(p.stat().st_uid == 0 for p in root.rglob("*"))


def test_the_fields_of_the_debian_package(deb_of, version, architecture):
    lines = output_of("dpkg-deb", "-f", deb_of(architecture)).splitlines()
    fields = dict(line.split(": ", 1) for line in lines if not line.startswith(" "))
    assert (fields["Package"], fields["Version"]) == ("kinglet", version)
    assert fields["Architecture"] == architecture
    assert re.fullmatch(r"libc6 \(>= 2\.\d+\), libcurl4 \(>= [0-9.]+\)", fields["Depends"])
    assert 1000 < int(fields["Installed-Size"]) < 10_000  # KiB
    conffiles = output_of("dpkg-deb", "-I", deb_of(architecture), "conffiles")
    assert conffiles == "/etc/default/kinglet\n"


def test_the_program(unpack, architecture):
    """It is stripped, for its CPU, needs few libraries, and does not contain paths of the build."""
    program = unpack(architecture) / "usr" / "bin" / "kinglet"
    assert ARCHITECTURES[architecture] in output_of("readelf", "-h", program)
    needed = re.findall(r"NEEDED.*\[(.*)\]", output_of("readelf", "-d", program))
    assert "libc.so.6" in needed and set(needed) <= LIBRARIES | LINKERS
    versions = re.findall(r"@GLIBC_(\d+)\.(\d+)", output_of("readelf", "-W", "--dyn-syms", program))
    assert max((int(a), int(b)) for a, b in versions) <= GLIBC
    assert ".symtab" not in output_of("readelf", "-SW", program)
    content = program.read_bytes()
    assert str(REPOSITORY).encode() not in content and b"../src/" not in content
    assert b"\0src/model/kv_cache.c\0" in content  # asserts would contain paths


def test_licences_of_all_parts(unpack):
    text = (unpack("amd64") / "usr/share/doc/kinglet/copyright").read_text()
    assert (REPOSITORY / "LICENSE").read_text() in text
    for part in ("libevent", "libjansson", "libutf8proc", "libedit", "dompurify", "highlight"):
        assert part in text


def test_the_manual_names_all_options(unpack):
    root = unpack("amd64")
    page = root / "kinglet.1"
    page.write_bytes(gzip.decompress((root / "usr/share/man/man1/kinglet.1.gz").read_bytes()))
    assert not subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", page], check=True, capture_output=True
    ).stderr
    text = page.read_text().replace("\\-", "-")
    page.unlink()
    program = root / "usr" / "bin" / "kinglet"
    overview = output_of(program, "--help")
    commands = re.findall(r"^  ([a-z]+) ", overview, re.M)
    assert "serve" in commands
    parts = dict(zip(commands, text.split("\n.SS ")[1:], strict=True))
    for command in commands:
        assert f".B {command}\n" in text and parts[command].startswith(f"kinglet {command} ")
        options = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", output_of(program, command, "--help"))
        assert {"--help", "--version", "--log-level"} < set(options)
        for option in options:
            assert re.search(rf"{option}(?![\w-])", parts[command]), (command, option)
    for name in re.findall(r"[A-Z]+_[A-Z_]+", overview):
        assert name in text


def test_the_service_is_confined(unpack, tmp_path):
    root = unpack("amd64")
    unit = tmp_path / "kinglet.service"
    text = (root / "usr/lib/systemd/system/kinglet.service").read_text()
    unit.write_text(text.replace("/usr/bin/kinglet", str(root / "usr/bin/kinglet")))
    shutil.copy(root / "usr/lib/systemd/system/kinglet.socket", tmp_path)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit, tmp_path / "kinglet.socket"],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0 and "kinglet." not in said.stderr, said.stderr
    report = output_of("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    exposure = float(re.search(r"exposure level for kinglet.service: ([0-9.]+)", report)[1])
    assert exposure <= MAX_EXPOSURE, report


def test_another_environment_gives_the_same_bytes(packages, tmp_path):
    """Builds in another directory, time zone, umask and language; includes uncommitted changes."""
    files = output_of("git", "-C", REPOSITORY, "ls-files", "-co", "--exclude-standard").splitlines()
    copy = tmp_path / "another" / "place"
    for name in files:
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
    time = output_of("git", "-C", REPOSITORY, "log", "-1", "--format=%ct").strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": time, "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"}
    build = f"umask 077; tools/release -s '{packages.parent}/sysroot' amd64"
    output_of("sh", "-c", build, cwd=copy, env=environment)
    sums = (copy / "build" / "packages" / "SHA256SUMS").read_text().splitlines()
    assert len(sums) == 2 and set(sums) <= set((packages / "SHA256SUMS").read_text().splitlines())


@pytest.mark.parametrize(
    "arguments, said", [(["sparc"], "tools/release"), (["-o"], "-o needs a directory")]
)
def test_wrong_usage_is_refused(arguments, said):
    tool = [REPOSITORY / "tools" / "release", *arguments]
    done = subprocess.run(tool, capture_output=True, text=True)
    assert done.returncode != 0 and said in done.stderr and done.stdout == ""

#!/usr/bin/env python3
"""Creates an empty Debian system as a tar file, for the tests of the package and of the image.

    make_debian_root.py FILE

Mirror and settings of apt are this system's. Needs debootstrap and root."""

import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = "bookworm"


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def mirror():
    """Returns the mirror of this system for the suite."""
    lines = output_of("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)").splitlines()
    found = [line.split()[1] for line in lines if line.split()[0] == SUITE]
    if not found:
        sys.exit(f"make_debian_root: the apt sources of this system have no {SUITE}: {lines}")
    return found[0]


def main(file):
    with tempfile.TemporaryDirectory(dir=file.parent) as directory:
        root = Path(directory) / "root"
        command = ["debootstrap", "--variant=minbase", SUITE, root, mirror()]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            sys.exit("make_debian_root: " + done.stdout.decode(errors="replace")[-2000:])
        settings = output_of("apt-config", "dump", "Acquire")
        settings += 'Dpkg::Use-Pty "0";\n'  # without /dev/pts
        (root / "etc/apt/apt.conf.d/host").write_text(settings)
        part = Path(directory) / "root.tar"
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-cf", part, "."], check=True)
        part.rename(file)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())

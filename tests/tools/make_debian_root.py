#!/usr/bin/env python3
"""Creates an empty Debian system as a tar file, for the tests of the package and of the image, and for
tools/try-debian.

    make_debian_root.py FILE [SUITE [ARCHITECTURE]]     bookworm, and this system's

Mirror and settings of apt are this system's. Needs debootstrap and root; for a foreign architecture
the kernel must know its interpreter (binfmt_misc)."""

import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = "bookworm"


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def mirror():
    """Returns the mirror of this system, which has all suites of Debian."""
    own = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )["VERSION_CODENAME"]
    lines = output_of("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)").splitlines()
    found = [line.split()[1] for line in lines if line.split()[0] == own]
    if not found:
        sys.exit(f"make_debian_root: the apt sources of this system have no {own}: {lines}")
    return found[0]


def main(file, suite=SUITE, architecture=None):
    with tempfile.TemporaryDirectory(dir=file.parent) as directory:
        root = Path(directory) / "root"
        # its mounts end with it: after a failure, /proc must not be in the directory that is removed
        command = ["unshare", "--mount", "--propagation", "private", "debootstrap"]
        command += [f"--arch={architecture}"] if architecture else []
        command += ["--variant=minbase", suite, root, mirror()]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            sys.exit("make_debian_root: " + done.stdout.decode(errors="replace")[-2000:])
        settings = output_of("apt-config", "dump", "Acquire")
        settings += 'Dpkg::Use-Pty "0";\n'  # without /dev/pts
        (root / "etc/apt/apt.conf.d/host").write_text(settings)
        # it need not survive a power failure
        (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
        part = Path(directory) / "root.tar"
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-cf", part, "."], check=True)
        part.rename(file)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])

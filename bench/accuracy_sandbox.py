"""Runs untrusted Python programs, written by a model.

A program runs as a separate process in bubblewrap: no network, no files of this computer except /usr
(read-only), an empty directory of 1 MiB in memory, no view of other processes, an empty environment;
time, memory, processes and file sizes are limited; when its time is over, it is killed with all
processes that it started. Root runs it as user 65534, since limits do not apply to root.

Needs bubblewrap (Debian: bubblewrap), prlimit (util-linux), /usr/bin/python3, and a kernel that lets
users create user namespaces; many containers do not.
"""

import os
import secrets
import signal
import subprocess
import tempfile

SECONDS = 10  # wall-clock; HumanEval's own solutions take far less than one
MEBIBYTE = 1 << 20
NOBODY = 65534
LIMITS = {
    "cpu": SECONDS,
    "as": 512 * MEBIBYTE,
    "nproc": 4,
    "fsize": MEBIBYTE,  # applies to its output, too, which goes into a file
    "nofile": 64,
    "core": 0,
}
COMMAND = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"),
    *("--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--dev", "/dev", "--remount-ro", "/dev", "--size", str(MEBIBYTE), "--tmpfs", "/tmp"),
    *("--remount-ro", "/", "--chdir", "/tmp", "--"),
    *("/usr/bin/prlimit", *(f"--{name}={n}" for name, n in LIMITS.items()), "--"),
    *("/usr/bin/python3", "-I", "-S", "-"),  # isolated, without packages, from standard input
)


class SandboxError(Exception):
    """The sandbox itself does not work here."""


def run(program, seconds=SECONDS):
    """Returns None if the program ran to its end; otherwise its last line, or "killed after N s".

    The end is proved by a word that is printed there and that the program cannot know: a program that
    exits early with exit code 0 has not passed.
    """
    word = secrets.token_hex(16)
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **who,
            )
        except OSError as e:
            raise SandboxError(f"bwrap cannot be run ({e}); install bubblewrap") from None
        try:
            process.communicate(f"{program}\n\nprint({word!r})\n".encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"killed after {seconds} s"
        finally:
            # the first process of its namespace ends with bwrap, and all others with it
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    if process.returncode == 0 and word in lines:
        return None
    return (lines or [""])[-1][:200] or f"ended with {process.returncode}"


def check():
    """Raises SandboxError if not even an empty program runs to its end."""
    said = run("pass")
    if said is not None:
        raise SandboxError(
            f"the sandbox does not run an empty program: {said}; it needs bubblewrap,"
            " /usr/bin/python3 and user namespaces, which many containers forbid"
        )

"""aider: an edit of a file that is asked for and applied."""

import os
import subprocess

from features import KEY, V1, feature, model_name, scratch, try_all

ENVIRONMENT = {
    **os.environ,
    "OPENAI_API_BASE": V1,
    "OPENAI_API_KEY": KEY,
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HOME": str(scratch()),
}
QUIET = (
    "--yes-always", "--no-git", "--no-auto-commits", "--no-check-update", "--no-show-model-warnings",
    "--analytics-disable", "--no-show-release-notes", "--no-detect-urls", "--no-suggest-shell-commands",
    "--map-tokens", "0",
)  # fmt: skip
BEFORE = 'def greet():\n    print("hello")\n'


def aider(folder, request, *options):
    """Runs it in a folder with one file, and returns the file."""
    file = folder / "greet.py"
    file.write_text(BEFORE)
    command = ["aider", "--model", f"openai/{model_name()}", *QUIET, *options, "--message", request]
    done = subprocess.run(
        [*command, file.name], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return file.read_text(), done.stdout


@feature("an edit is applied: the whole file, streamed")
def _():
    after, said = aider(scratch(), 'Change "hello" to "goodbye" in greet.py.', "--edit-format", "whole")
    assert "goodbye" in after and "def greet" in after, said


@feature("an edit is applied: the whole file, not streamed")
def _():
    request = 'Change "hello" to "goodbye" in greet.py.'
    after, said = aider(scratch(), request, "--edit-format", "whole", "--no-stream")
    assert "goodbye" in after and "def greet" in after, said


try_all()

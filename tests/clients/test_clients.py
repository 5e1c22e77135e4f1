"""Each client that is light enough works with one server, by its script; docs/clients.md works as written.

The others (aider, llama-index, the Agents SDK) are run by hand, and their requests by test_recorded.py.
"""

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import install

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RUN = HERE / "run"
HEAVY = {"aider", "llama-index", "openai-agents"}
NAMES = subprocess.run([RUN, "--list"], capture_output=True, text=True, check=True).stdout.split()


def output_of(command, **options):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, **options
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HEAVY])
def test_client(name, clients_server):
    lines = output_of([RUN, name, clients_server.base_url]).splitlines()
    print("\n".join(lines))
    assert sum(line.startswith("ok      ") for line in lines) > 1


def test_a_failure_is_seen(tmp_path):
    """A script whose second feature fails ends with 1, after its third one."""
    script = tmp_path / "try_nothing.py"
    script.write_text(
        "from features import feature, try_all\n"
        "feature('one')(lambda: None)\nfeature('two')(lambda: 1 / 0)\nfeature('three')(lambda: None)\n"
        "try_all()\n"
    )
    done = subprocess.run(
        [sys.executable, script], env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert done.stdout.splitlines() == ["ok      one", "FAILED  two", "ok      three"]


# ---- docs/clients.md ------------------------------------------------------------------------------

DOCUMENT = REPOSITORY / "docs" / "clients.md"


def examples():
    """(client's name, language, code) of each example that follows a line <!-- NAME LANGUAGE -->."""
    lines = DOCUMENT.read_text().splitlines()
    for i, line in enumerate(lines):
        if mark := re.fullmatch(r"<!-- ([\w-]+) (\w+) -->", line):
            code = itertools.takewhile(lambda row: not row or row.startswith("    "), lines[i + 1 :])
            yield mark[1], mark[2], "\n".join(row[4:] for row in code).strip() + "\n"


GO_PROGRAM = """package main

import (
	"context"
	"fmt"

	openai "github.com/sashabaranov/go-openai"
)

func main() {
	SETTINGS
	ask := []openai.ChatCompletionMessage{{Role: "user", Content: "What is the capital of France?"}}
	answer, err := client.CreateChatCompletion(context.Background(), openai.ChatCompletionRequest{Messages: ask})
	fmt.Println(answer.Choices[0].Message.Content, err)
}
"""


def command_for(language, client, code, folder):
    """The command that runs this code with the packages of the client, and its environment."""
    command, env = install(client)
    if language == "python":
        return [command[0], "-c", code], env
    if language == "node":  # modules are looked for next to the file
        file = Path(env["NODE_PATH"]).parent / "example.mjs"
        file.write_text(code)
        return ["node", file], env
    if language == "go":  # settings, which the rest of a program follows
        for file in ("go.mod", "go.sum"):
            shutil.copy(HERE / "go_openai" / file, folder)
        (folder / "example.go").write_text(GO_PROGRAM.replace("SETTINGS", code))
        return ["go", "run", "."], env
    return ["sh", "-ec", code], {**env, "HOME": str(folder)}


EXAMPLES = [pytest.param(*e, id=f"{e[0]}-{e[1]}") for e in examples()]


@pytest.mark.parametrize("client, language, code", [e for e in EXAMPLES if e.values[0] not in HEAVY])
def test_an_example_of_the_document(client, language, code, clients_server, tmp_path):
    """The lines work as they are, with another port."""
    code = code.replace("http://127.0.0.1:7860", clients_server.base_url)
    assert clients_server.base_url in code
    command, env = command_for(language, client, code, tmp_path)
    assert "Paris" in output_of(command, env=env, cwd=tmp_path)


def test_each_client_has_an_example():
    assert set(NAMES) <= {e.values[0] for e in EXAMPLES}

"""Links, files, commands with options, and metrics in the documents exist."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from api_client import get

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *GUIDES[1:], REPOSITORY / "bench" / "README.md"]
UNKNOWN = "--not-an-option"
FOREIGN = {"--build-arg", "--cpus", "--format"}  # docker's
# placeholders for a number, as in --help
NUMBERS = {"N": "1", "PID": "1", "SECONDS": "1", "SIZE": "1G", "TIME": "1m"}


def name_of(path):
    return str(path.relative_to(REPOSITORY))


def anchors(path):
    """Returns the anchors of a file's headings, as on GitHub."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        heading = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(heading.replace(" ", "-"))
    return found


def code(path):
    """Returns the lines of code of a document (indented by four, or more in a list), with continued lines
    joined; and the pieces in backticks."""
    text = path.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return lines, [" ".join(p.split()) for p in re.findall(r"`([^`]+)`", text)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links(path):
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert there.is_relative_to(REPOSITORY), target
        assert not anchor or anchor in anchors(there), (target, sorted(anchors(there)))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_that_are_named(path):
    """Finds `docs/page.png`, `tools/release arm64`: a folder of the repository, a slash, a name."""
    folders = ("bench", "deploy", "docs", "src", "tests", "tools", "web")
    for piece in code(path)[1]:
        word = piece.split(" ")[0]
        if word.split("/")[0] in folders and re.fullmatch(r"[\w./-]+/[\w.-]+", word):
            assert (REPOSITORY / word).exists(), word


@pytest.fixture(scope="session")
def commands(run_kinglet):
    """{command: its --help}"""
    found = re.findall(r"^  ([a-z]+) ", run_kinglet("--help").stdout.decode(), re.M)
    return {c: run_kinglet(c, "--help").stdout.decode() for c in found}


def calls(line, commands):
    """Returns the arguments of the program in a line of shell: where it is the command, and where its
    name (for example an image's) precedes one of its commands."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    segments = [[]]
    for word in words:
        if set(word) <= set("();<>|&"):
            segments.append([])
        else:
            segments[-1].append(word)
    for segment in segments:
        while segment and (segment[0] == "sudo" or re.fullmatch(r"[A-Z_]+=.*", segment[0])):
            del segment[0]
        for i, word in enumerate(segment):
            rest = segment[i + 1 :]
            if word == "./start.sh":
                yield ["serve", *rest]
            elif word.split("/")[-1] == "kinglet" and (i == 0 or rest[:1] and rest[0] in commands):
                yield rest
                break


def test_calls_are_found():
    def found(line):
        return list(calls(line, {"chat", "serve"}))

    line = 'git diff | kinglet chat "What?" && X=1 build/kinglet serve --port 1 # kinglet no'
    assert found(line) == [["chat", "What?"], ["serve", "--port", "1"]]
    assert found("./start.sh -p 1 | cat; tar x kinglet-0.1.tar") == [["serve", "-p", "1"]]
    assert found("docker run --name kinglet -v kinglet:/c kinglet serve") == [["serve"]]
    assert found("sudo kinglet sing; systemctl stop kinglet") == [["sing"]]


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_commands_are_understood(path, commands, kinglet):
    """Each gets a further option, which does not exist: the error must be about this one."""
    lines, pieces = code(path)
    shell = [line for line in lines + pieces if re.search(r"\bkinglet |\./start\.sh ", line)]
    found = [c for line in shell for c in calls(line, commands)]
    settings = re.findall(r"KINGLET_OPTIONS=(--.*)", path.read_text())
    found += [["serve", *shlex.split(options)] for options in settings]
    for command in found:
        # --help would hide errors
        command = [NUMBERS.get(word, word) for word in command if word != "--help"]
        if command in ([], ["COMMAND"], ["--version"]):
            continue
        assert command[0] in commands, command
        done = subprocess.run(
            [kinglet, *command, UNKNOWN], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        said = f"kinglet {command[0]}: unknown option {UNKNOWN}"
        assert done.returncode == 2 and done.stderr.startswith(said), (command, done.stderr)


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_options_exist(path, commands):
    for piece in code(path)[1]:
        if piece.startswith("--"):
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", piece):
                known = any(re.search(rf"{option}(?![\w-])", h) for h in commands.values())
                assert known or option in FOREIGN, option


@pytest.mark.parametrize("command", ["serve", "chat", "pull", "doctor", "key", "cache"])
def test_options_are_explained(command, commands):
    """Each option is in a guide, since --help is read by those that know that there is one."""
    guides = " ".join(path.read_text() for path in GUIDES)
    options = re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", commands[command], re.M)
    missing = [o for o in options if not re.search(rf"(?<![\w-]){o}(?![\w-])", guides)]
    assert len(options) > 3 and set(missing) <= {"--version"}


@pytest.fixture(scope="session")
def answers(server_factory, tiny_model_path, tmp_path_factory):
    """The answers of a server of two models on some routes, by their paths."""
    second = tmp_path_factory.mktemp("second") / "second.gguf"
    second.symlink_to(tiny_model_path)
    server = server_factory("--offline", "--model", second, model=tiny_model_path)
    found = {path: get(server, path).body.decode() for path in ("/metrics", "/health", "/v1/models")}
    server.end()
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_metrics_exist(path, answers):
    metrics = set(re.findall(r"^(?:# TYPE )?(kinglet_\w+)", answers["/metrics"], re.M))
    named = set(re.findall(r"\bkinglet_[a-z]\w*", path.read_text()))
    assert named <= metrics, named - metrics


def test_fields_are_explained(answers):
    """Fields of /health and /v1/models are in http-api.md; those of `statistics` are metrics."""
    text = (REPOSITORY / "docs" / "http-api.md").read_text()
    health = text.split("\n## /health\n")[1].split("\n## ")[0]
    models = text.split("\n## Names of models\n")[1].split("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", health))
    state = json.loads(answers["/health"])
    fields = {*state, *state["connections"], *state["chat_template"]}
    # `_failed` behind requests_finished stands for requests_failed
    assert not {f for f in fields if f not in told and "_" + f.rpartition("_")[2] not in told}
    for name in state["statistics"]:
        assert re.search(rf"^# TYPE kinglet_{name}(_total)? ", answers["/metrics"], re.M), name
    meta = json.loads(answers["/v1/models"])["data"][0]["meta"]
    assert {*meta, *meta["sampling"]} <= set(re.findall(r"`(?:meta\.)?(\w+)`", models))


def test_quotes_of_the_program_are_literal():
    """Quoted texts in the FAQ occur in the source; "..." matches anything."""
    foreign = {"Exec format error", "numbers"}
    text = (REPOSITORY / "docs" / "faq.md").read_text()
    text = re.sub(r"^    .*$|`[^`]*`", "", text, flags=re.M)  # code has its own quotes
    quoted = {" ".join(q.split()) for q in re.findall(r'"([^"]+)"', text)} - foreign
    assert len(quoted) > 10
    source = "".join(p.read_text() for p in (REPOSITORY / "src").rglob("*.c"))
    source = re.sub(r'"\s*\n\s*"', "", source)  # strings that continue in the next line
    for quote in quoted:
        pattern = "[^\n]*".join(re.escape(part.strip()) for part in quote.split("..."))
        assert re.search(pattern, source), quote

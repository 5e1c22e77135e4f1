"""Names of the model: file names that are not UTF-8, the case of letters, ":latest", and --alias."""

import json
import os
import re
import shutil
from urllib.parse import quote

import pytest
from api_client import CHAT, HELLO, Stream, complete, get, health, post, stream

FIELDS = {"max_tokens": 3}
# invalid UTF-8, a truncated code point, a line end, an escape sequence; quotes for the JSON
NAME = b'tiny \xff\xe9"\n\x1b[31m\xc2\x9b \xe4\xb8\xad\xe4'
SHOWN = 'tiny \ufffd\ufffd"\ufffd\ufffd[31m\ufffd 中\ufffd'


@pytest.fixture(scope="module")
def oddly_named(tiny_model_path, tmp_path_factory):
    path = os.fsencode(tmp_path_factory.mktemp("odd")) + b"/" + NAME + b".gguf"
    os.symlink(tiny_model_path, path)
    return os.fsdecode(path)


@pytest.fixture(scope="module")
def odd(server_factory, oddly_named):
    server = server_factory("--offline", "--strict-model", "--log-format", "json", model=oddly_named)
    yield server
    server.end()


def test_an_invalid_name_is_converted_to_utf8_once(odd):
    assert health(odd)["model"] == SHOWN
    (model,) = get(odd, "/v1/models").json()["data"]
    assert model["id"] == SHOWN and model["meta"]["file"] == SHOWN + ".gguf"
    assert get(odd, "/v1/models/" + quote(SHOWN)).json()["id"] == SHOWN
    for name in (SHOWN, SHOWN + ".gguf", "default", None):
        assert complete(odd, model=name, **FIELDS)["model"] == SHOWN
    chunks = stream(odd, **FIELDS).chunks
    assert chunks and all(chunk["model"] == SHOWN for chunk in chunks)


def test_every_route_answers_with_an_invalid_name(odd):
    for path in ("/", "/health", "/live", "/ready", "/metrics", "/v1/models"):
        reply = get(odd, path)
        assert reply.status == 200, (path, reply.body)
        reply.body.decode()
    assert SHOWN in get(odd, "/metrics").body.decode().replace('\\"', '"')
    assert Stream(odd, "/chat", {"prompt": "Hello", "max_new_tokens": 3}).chunks
    assert Stream(odd, "/chat?prompt=Hello&max_new_tokens=3", None, method="GET").chunks
    error = post(odd, CHAT, {"messages": HELLO, "model": "other"}).error
    assert error["code"] == "model_not_found" and SHOWN in error["message"]
    lines = [json.loads(line) for line in odd.log_with("s after the start)").splitlines() if line[0] == "{"]
    assert any(f": {SHOWN} on http" in line["message"] for line in lines)


@pytest.mark.parametrize("path", ["/v1/models/%FF%FE", "/%E4%B8", "/v1/models/a%C2"])
def test_bytes_of_a_path_in_an_error(tiny, path):
    reply = get(tiny, path)
    assert reply.status == 404 and "\ufffd" in reply.error["message"]


@pytest.mark.parametrize("query", ["prompt=%FF", "stop=%E4%B8&prompt=a", "seed=%C3&prompt=a"])
def test_bytes_of_a_query_are_an_error_of_the_client(tiny, query):
    reply = get(tiny, "/chat?" + query)
    assert reply.status == 400, reply.body
    assert reply.error["param"] == query.split("=")[0]


@pytest.mark.parametrize(
    "headers",
    [{"X-Priority": "\xe9"}, {"X-Deadline-Ms": "\xff1"}, {"Content-Type": "text/\xe9"},
     {"Origin": "http://\xe9"}],
)  # fmt: skip
def test_bytes_of_a_header_in_an_error(tiny, headers):
    reply = post(tiny, CHAT, {"messages": HELLO}, headers)
    assert 400 <= reply.status < 500
    assert "\ufffd" in reply.error["message"]


def test_commands_print_json_with_an_invalid_name(run_kinglet, oddly_named):
    run = ("--model", oddly_named, "--json")
    bench = json.loads(run_kinglet("bench", *run, "--only", "prefill", "--prompt", 32, "--repeat", 1).stdout)
    assert SHOWN in json.dumps(bench, ensure_ascii=False).replace('\\"', '"')
    json.loads(run_kinglet("doctor", *run, check=False).stdout)


# ---- case, ":latest", --alias --------------------------------------------------------------------

ALIASES = ("gpt-4o-mini", "openai/gpt-4o", "小鸟")


@pytest.fixture(scope="module")
def aliased(server_factory, tiny_model_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "My-Model_1.5B.gguf"
    path.symlink_to(tiny_model_path)
    options = ["--strict-model", "--alias", "gpt-4o-mini=my-model_1.5b:latest", "--alias", "my-MODEL_1.5b"]
    for name in (*ALIASES[1:], "GPT-4o-mini"):
        options += ["--alias", name]
    server = server_factory("--offline", "--strict-model", *options, model=path)
    yield server
    server.end()


@pytest.mark.parametrize(
    "name",
    ["My-Model_1.5B", "my-model_1.5b", "MY-MODEL_1.5B:latest", "my-model_1.5b.GGUF", "DEFAULT",
     "default:latest", "gpt-4o-mini", "GPT-4O-Mini:LATEST", "openai/gpt-4o", "小鸟"],
)  # fmt: skip
def test_case_and_latest_do_not_matter(aliased, name):
    complete(aliased, model=name, max_tokens=1)
    assert get(aliased, "/v1/models/" + quote(name)).status == 200


@pytest.mark.parametrize(
    "name", ["my-model", "my-model_1.5b:7b", "latest", ":latest", "gpt-4o", "gpt-4o-mini:latest:latest"]
)
def test_other_names_are_other_models(aliased, name):
    reply = post(aliased, CHAT, {"messages": HELLO, "model": name, "max_tokens": 1})
    assert reply.status == 404 and reply.error["code"] == "model_not_found"


def test_aliases_are_listed_once(aliased):
    models = get(aliased, "/v1/models").json()["data"]
    assert [m["id"] for m in models] == ["My-Model_1.5B", *ALIASES]
    assert len({json.dumps({**m, "id": ""}) for m in models}) == 1
    assert get(aliased, "/v1/models/GPT-4O-MINI:latest").json()["id"] == "gpt-4o-mini"


def test_an_alias_of_another_model_is_refused(run_kinglet, tiny_model_path):
    done = run_kinglet("serve", "--offline", "--port", 0, "--model", tiny_model_path,
                       "--alias", "a=other-model", check=False)  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"--alias a=other-model: the model that is served is tiny", done.stderr.decode())


@pytest.mark.parametrize("alias", ["", "=x", "a=", " a", "a ", "a\nb", b"a\xff", "a" * 101, "a\x1b[0m"])
def test_invalid_aliases(run_kinglet, alias):
    done = run_kinglet("serve", "--offline", "--alias", os.fsdecode(alias), check=False)
    assert done.returncode == 2 and b"--alias takes NAME or NAME=MODEL" in done.stderr


def test_names_on_the_command_line(run_kinglet, tiny_model_path, tmp_path):
    models = tmp_path / "kinglet" / "models"
    models.mkdir(parents=True)
    shutil.copy(tiny_model_path, models / "Small.gguf")
    for name in ("Small", "small", "SMALL:latest"):
        done = run_kinglet("pull", "--offline", name, env={"XDG_CACHE_HOME": str(tmp_path)})
        assert done.stdout.decode().strip() == str(models / "Small.gguf")
    done = run_kinglet("pull", "--offline", "Qwen2.5-0.5B-Instruct:latest", check=False,
                       env={"XDG_CACHE_HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 3 and b"kinglet pull qwen2.5-0.5b-instruct" in done.stderr

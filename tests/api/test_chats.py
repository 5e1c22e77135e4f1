"""Kept chats (--history): /v1/chats, its statuses and conditions, keys apart, limits, and that nothing that
was acknowledged is lost."""

import json
import stat
import threading
import uuid
from pathlib import Path

import pytest
from api_client import Connection, call, get, health, post, wait_until
from test_all_routes import BROKEN, VALUES

CHATS = "/v1/chats"
NEW = {"If-None-Match": "*"}


def message(content="Hello", role="user", parent=None, **more):
    return {"id": str(uuid.uuid4()), "parent": parent, "role": role, "content": content, **more}


def path_of(chat):
    return f"{CHATS}/{chat}"


def put(server, chat, body, headers=NEW):
    return call(server, "PUT", path_of(chat), body, headers)


def add(server, chat, *messages, headers=None, **more):
    return post(server, f"{path_of(chat)}/messages", {"messages": messages, **more}, headers)


def listed(server, headers=None):
    reply = get(server, CHATS, headers)
    assert reply.status == 200, reply.body
    return {row["id"]: row for row in reply.json()["data"]}


@pytest.fixture
def chat(tiny):
    """A new chat of one message."""
    name = str(uuid.uuid4())
    reply = put(tiny, name, {"title": "A chat", "messages": [message()]})
    assert reply.status == 201
    assert reply.headers["location"] == path_of(name)
    return name


def files(directory):
    return [p for p in Path(directory).rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_a_whole_chat(tiny):
    name = str(uuid.uuid4())
    asked = message("什么?", draft={"a": [1, None, "x\0y"], "b": 0.25})
    answered = message("An answer", "assistant", asked["id"], stop="length")
    body = {
        "id": name, "title": "标题", "created": 1000, "changed": 2000, "pinned": True,
        "settings": {"temperature": 0.7}, "current": answered["id"], "own": {"x": [True]},
        "messages": [asked, answered],
    }  # fmt: skip
    first = put(tiny, name, body)
    assert first.status == 201
    found = get(tiny, path_of(name))
    assert found.status == 200 and found.json() == body
    assert found.headers["etag"] == first.headers["etag"]
    assert found.headers["cache-control"] == "no-store"
    row = listed(tiny)[name]
    assert row == first.json()
    assert f'"{row["etag"]}"' == found.headers["etag"]
    assert row["bytes"] == len(found.body) - 1
    assert {k: row[k] for k in ("title", "created", "changed", "pinned")} == {
        k: body[k] for k in ("title", "created", "changed", "pinned")
    }
    assert "messages" not in row
    # as it was read, it can be written again
    again = put(tiny, name, found.json(), {"If-Match": found.headers["etag"]})
    assert again.status == 200
    assert get(tiny, path_of(name)).json() == body


def test_defaults(tiny):
    name = str(uuid.uuid4())
    assert put(tiny, name.upper(), {"title": None, "settings": None}).status == 201
    found = get(tiny, path_of(name)).json()
    assert found.pop("created") == found.pop("changed") > 1.7e12
    assert found == {"id": name, "title": "", "pinned": False, "settings": {}, "current": None, "messages": []}


def test_the_head_alone(tiny, chat):
    """Without messages, those there are stay, and the time of creation."""
    before = get(tiny, path_of(chat))
    reply = put(tiny, chat, {"title": "Another", "pinned": True}, {"If-Match": before.headers["etag"]})
    assert reply.status == 200 and reply.headers["etag"] != before.headers["etag"]
    after = get(tiny, path_of(chat)).json()
    assert after["title"] == "Another" and after["pinned"]
    assert after["messages"] == before.json()["messages"] and after["created"] == before.json()["created"]


def test_messages_are_added_and_replaced(tiny, chat):
    first = get(tiny, path_of(chat)).json()["messages"][0]
    growing = message("", "assistant", first["id"])
    for text in ("a", "ab", "abc"):
        reply = add(tiny, chat, growing | {"content": text}, current=growing["id"])
        assert reply.status == 200
        assert reply.headers["etag"] == f'"{reply.json()["etag"]}"'
    found = get(tiny, path_of(chat))
    assert found.headers["etag"] == reply.headers["etag"]
    assert found.json()["messages"] == [first, growing | {"content": "abc"}]
    assert found.json()["current"] == growing["id"] and found.json()["title"] == "A chat"
    assert add(tiny, chat, message(), headers={"If-Match": '"x"'}).status == 412
    assert add(tiny, str(uuid.uuid4()), message()).status == 404
    reply = add(tiny, chat, message(), title="no")
    assert reply.status == 400 and reply.error["param"] == "title"
    assert post(tiny, f"{path_of(chat)}/messages", {}).error["param"] == "messages"


def test_conditions(tiny, chat):
    etag = get(tiny, path_of(chat)).headers["etag"]
    assert etag[0] == etag[-1] == '"' and len(etag) == 34
    for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": '"x"'}):
        assert put(tiny, chat, {}, headers).status == 428
    for headers in (NEW, {"If-Match": '"x"'}, {"If-Match": f"W/{etag}"}, {"If-Match": etag.strip('"')},
                    {"If-Match": ""}, {"If-Match": etag, **NEW}):  # fmt: skip
        reply = put(tiny, chat, {}, headers)
        assert (reply.status, reply.error["code"]) == (412, "precondition_failed"), headers
        assert reply.headers["etag"] == etag
    nowhere = str(uuid.uuid4())
    for value in ("*", etag):
        reply = put(tiny, nowhere, {}, {"If-Match": value})
        assert reply.status == 412 and "If-None-Match: *" in reply.error["message"]
    assert nowhere not in listed(tiny)
    # a change needs the last ETag, and gives the next
    changed = put(tiny, chat, {"title": "1"}, {"If-Match": f'"x", {etag}'})
    assert changed.status == 200
    assert put(tiny, chat, {"title": "2"}, {"If-Match": etag}).status == 412
    assert put(tiny, chat, {"title": "3"}, {"If-Match": "*"}).status == 200
    assert get(tiny, path_of(chat)).json()["title"] == "3"


@pytest.mark.parametrize("path", ["list", "chat"])
def test_unchanged(tiny, chat, path):
    path = CHATS if path == "list" else path_of(chat)
    etag = get(tiny, path).headers["etag"]
    for value in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        for method in ("GET", "HEAD"):
            reply = call(tiny, method, path, None, {"If-None-Match": value})
            assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", etag), value
    assert get(tiny, path, {"If-None-Match": '"x"'}).status == 200
    assert get(tiny, path, {"If-Match": '"x"'}).status == 412
    for name in ("If-Match", "If-None-Match"):
        assert get(tiny, path, {name: '"x",' * 300}).error["param"] == name
    add(tiny, chat, message())
    assert get(tiny, path, {"If-None-Match": etag}).status == 200
    head = call(tiny, "HEAD", path)
    assert head.body == b"" and int(head.headers["content-length"]) == len(get(tiny, path).body)


def test_delete(tiny, chat):
    etag = get(tiny, path_of(chat)).headers["etag"]
    assert call(tiny, "DELETE", path_of(chat), None, {"If-Match": '"x"'}).status == 412
    reply = call(tiny, "DELETE", path_of(chat), None, {"If-Match": etag})
    assert reply.json() == {"id": chat, "object": "chat", "deleted": True}
    for method in ("GET", "HEAD", "DELETE"):
        assert call(tiny, method, path_of(chat)).status == 404
    assert get(tiny, path_of(chat)).error["code"] == "chat_not_found"
    assert chat not in listed(tiny)
    assert put(tiny, chat, {}).status == 201


@pytest.mark.parametrize("name", ["1", "x" * 36, "-" * 36, str(uuid.uuid4()) + "0", uuid.uuid4().hex,
                                  "..%2F..%2Fetc%2Fpasswd", "%00" + str(uuid.uuid4())[1:], "é" * 18])  # fmt: skip
def test_ids(tiny, name):
    name = name.encode().decode("latin-1")
    for method in ("GET", "DELETE", "PUT"):
        reply = call(tiny, method, path_of(name), {} if method == "PUT" else None)
        assert reply.status in ((400, 404) if "%" in name else (400,)), reply.body
    if "%" not in name:
        assert reply.error["code"] == "invalid_id"
        assert post(tiny, f"{path_of(name)}/messages", {"messages": []}).error["code"] == "invalid_id"


def test_paths(tiny, chat):
    assert get(tiny, f"{path_of(chat)}/title").status == 404
    assert get(tiny, f"{path_of(chat)}/messages").status == 405
    assert call(tiny, "PUT", CHATS, {}).status == 405
    assert post(tiny, path_of(chat), {}).headers["allow"] == "GET, HEAD, PUT, DELETE"


@pytest.mark.parametrize("field", ["id", "title", "created", "changed", "pinned", "settings", "current", "messages"])
def test_values_of_the_head(tiny, chat, field):
    refused = 0
    with Connection(tiny) as c:
        for value in [*VALUES, "a\nb", "x" * 1025, "\1" * 171, 2**53 + 1]:
            c.send("PUT", path_of(chat), {field: value}, {"If-Match": "*"})
            reply = c.read()
            assert reply.status in (200, 400), (value, reply.body)
            if reply.status == 400:
                refused += 1
                assert reply.error["message"]
    assert refused > len(VALUES) / 2


@pytest.mark.parametrize("field", ["id", "parent", "role", "content", "own"])
def test_values_of_messages(tiny, chat, field):
    for value in VALUES:
        reply = add(tiny, chat, message() | {field: value})
        fits = field == "own" or field == "content" and isinstance(value, str) or (field, value) == ("parent", None)
        if reply.status == 400 and reply.error["code"] == "invalid_json":
            assert value == "\ud800" or json.dumps(value).count("[") > 20
        elif fits:
            assert reply.status == 200, (value, reply.body)
        else:
            assert (reply.status, reply.error["param"]) == (400, f"messages[0].{field}")
    for value in (None, 1, "x", [], {}):
        assert add(tiny, chat, value).status == 400


@pytest.mark.parametrize("fault", BROKEN)
def test_bodies(tiny, chat, fault):
    before = get(tiny, path_of(chat))
    if fault != "NUL":  # which a text may have
        reply = put(tiny, chat, BROKEN[fault], {"If-Match": "*"})
        assert reply.status == 400 and reply.error["message"]
        assert get(tiny, path_of(chat)).body == before.body
    assert post(tiny, f"{path_of(chat)}/messages", BROKEN[fault]).status == 400
    assert get(tiny, path_of(chat)).body == before.body


def test_large(tiny):
    """A chat may be larger than a request, but has a limit; a refused change changes nothing."""
    name, content = str(uuid.uuid4()), "x" * 1_000_000
    assert put(tiny, name, {"messages": [message(content)]}).status == 201
    assert add(tiny, name, message(content)).status == 200
    assert put(tiny, name, {"messages": [message("x" * (1 << 20))]}, {"If-Match": "*"}).status == 413
    before = get(tiny, path_of(name))
    assert len(before.body) > 2_000_000
    reply = add(tiny, name, message(content))
    assert (reply.status, reply.error["code"]) == (413, "chat_too_large")
    assert reply.headers["etag"] == before.headers["etag"]
    assert get(tiny, path_of(name)).body == before.body
    call(tiny, "DELETE", path_of(name))


def test_one_of_two_wins(tiny, chat):
    """Of changes that begin with the same state at the same time, one is made."""
    etag = get(tiny, path_of(chat)).headers["etag"]
    replies = []
    threads = [
        threading.Thread(target=lambda n=n: replies.append(put(tiny, chat, {"title": str(n)}, {"If-Match": etag})))
        for n in range(12)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(r.status for r in replies) == [200] + [412] * 11
    won = next(r for r in replies if r.status == 200)
    assert get(tiny, path_of(chat)).headers["etag"] == won.headers["etag"]


def test_off(start_server, tiny):
    server = start_server("--offline")
    assert (health(server)["history"], health(tiny)["history"]) == (False, True)
    name = str(uuid.uuid4())
    for method, path in (("GET", CHATS), ("GET", path_of(name)), ("PUT", path_of(name)), ("DELETE", path_of(name)),
                         ("POST", f"{path_of(name)}/messages"), ("GET", path_of("x")),
                         ("GET", f"{path_of(name)}/x")):  # fmt: skip
        reply = call(server, method, path, {} if method in ("PUT", "POST") else None)
        assert (reply.status, reply.error["code"]) == (404, "history_off"), (method, path)
        assert "--history DIR" in reply.error["message"]


@pytest.fixture
def keyed(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("key-one-1234567890\nkey-two-1234567890\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys, "--history", tmp_path / "kept", "--history-size", "2M")
    server.kept = tmp_path / "kept"
    return server


def test_keys_are_apart(keyed):
    one, two = ({"Authorization": f"Bearer key-{n}-1234567890"} for n in ("one", "two"))
    name = str(uuid.uuid4())
    assert call(keyed, "GET", CHATS).status == 401
    assert put(keyed, name, {"title": "one's"}, NEW | one).status == 201
    assert listed(keyed, two) == {}
    for method in ("GET", "DELETE"):
        assert call(keyed, method, path_of(name), None, two).status == 404
    assert add(keyed, name, message(), headers=two).status == 404
    # the same ID is another chat for another key
    assert put(keyed, name, {"title": "two's"}, NEW | two).status == 201
    assert call(keyed, "DELETE", path_of(name), None, two).status == 200
    assert [row["title"] for row in listed(keyed, one).values()] == ["one's"]


def test_a_full_history(keyed):
    """A key that takes its share is refused more; others are not, and nothing is removed."""
    one, two = ({"Authorization": f"Bearer key-{n}-1234567890"} for n in ("one", "two"))
    names = [str(uuid.uuid4()) for _ in range(8)]
    body = {"messages": [message("x" * 100_000)]}
    replies = [put(keyed, name, body, NEW | one) for name in names]
    assert [r.status for r in replies] == [201] * 5 + [507] * 3
    assert replies[-1].error["code"] == "history_full" and "--history-size" in replies[-1].error["message"]
    assert set(listed(keyed, one)) == set(names[:5])
    assert put(keyed, names[7], body, NEW | two).status == 201
    page = get(keyed, "/metrics", one).body.decode()
    values = dict(line.split() for line in page.splitlines() if line.startswith("kinglet_history"))
    assert values["kinglet_history_chats"] == "6" and values["kinglet_history_max_bytes"] == str(2 << 20)
    assert 600_000 < float(values["kinglet_history_bytes"]) < 700_000
    assert call(keyed, "DELETE", path_of(names[0]), None, one).status == 200
    assert put(keyed, names[7], body, NEW | one).status == 201


def test_names_and_modes(keyed):
    """Nothing of a request is in a name; others can neither read nor list anything."""
    one = {"x-api-key": "key-one-1234567890"}
    name = str(uuid.uuid4())
    assert put(keyed, name, {"messages": [message()]}, NEW | one).status == 201
    found = [keyed.kept, *keyed.kept.rglob("*")]
    assert len(found) == 4
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert name not in str(path) and "one" not in path.name
    for line in files(keyed.kept)[0].read_text().splitlines():
        assert {"sum"} < set(json.loads(line))


def test_nothing_acknowledged_is_lost(start_server, tmp_path):
    """The process is killed while many clients write; all that was acknowledged is there."""
    options = ("--offline", "--history", tmp_path / "kept")
    server = start_server(*options)
    acknowledged, begun = {}, threading.Barrier(5)

    def write(name):
        body = {"messages": []}
        try:
            with Connection(server) as c:
                c.send("PUT", path_of(name), body, NEW)
                assert c.read().status == 201
                begun.wait()
                for n in range(100_000):
                    sent = message(str(n) * (1 + n % 50), n=n)
                    c.send("POST", f"{path_of(name)}/messages", {"messages": [sent]})
                    if c.read().status == 200:
                        acknowledged.setdefault(name, []).append(sent)
        except (OSError, EOFError):
            pass

    names = [str(uuid.uuid4()) for _ in range(4)]
    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for t in threads:
        t.start()
    begun.wait()
    wait_until(lambda: sum(map(len, acknowledged.values())) > 400, "nothing is written")
    server.process.kill()
    server.process.wait()
    for t in threads:
        t.join()
    again = start_server(*options)
    assert set(listed(again)) == set(names)
    for name in names:
        found = get(again, path_of(name)).json()["messages"]
        # the last one may have been written without an answer
        assert found[: len(acknowledged[name])] == acknowledged[name]
        assert len(found) <= len(acknowledged[name]) + 1


def test_clients_that_leave(tiny, chat):
    """Their requests end; no connection, no memory and no lock is left."""
    for _ in range(20):
        with Connection(tiny) as c:
            c.send("POST", f"{path_of(chat)}/messages", {"messages": [message("x" * 100_000)]})
            c.reset()
    assert get(tiny, path_of(chat)).status == 200


def refused(run_kinglet, *options):
    done = run_kinglet("serve", "--offline", "--port", 0, *options, check=False, timeout=60)
    assert done.returncode != 0
    return done.stderr.decode()


def test_directories_that_cannot_be_used(run_kinglet, tiny_model_path, start_server, tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("")
    other.mkdir(mode=0o755)
    (other / "mine").write_text("")
    for path, text in (
        (file, "cannot create the directory"),
        (file / "below", "cannot create the directory"),
        ("/proc/kept", "cannot create the directory"),
        (other, "has other files in it"),
    ):
        said = refused(run_kinglet, "--model", tiny_model_path, "--history", path)
        assert text in said and str(path) in said and "--history" in said
    assert stat.S_IMODE(other.stat().st_mode) == 0o755
    start_server("--offline", "--history", tmp_path / "kept")
    said = refused(run_kinglet, "--model", tiny_model_path, "--history", tmp_path / "kept")
    assert "another process uses the directory" in said


def test_open_to_others_it_needs_keys(run_kinglet, tiny_model_path, tmp_path):
    said = refused(run_kinglet, "--model", tiny_model_path, "--host", "0.0.0.0", "--no-auth",
                   "--history", tmp_path / "kept")  # fmt: skip
    assert "--history needs --api-key-file" in said

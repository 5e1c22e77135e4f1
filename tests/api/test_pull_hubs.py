"""`kinglet pull OWNER/REPO`: from servers that answer as Hugging Face and ModelScope do, and from the
directories in which Hugging Face's programs and Ollama keep models."""

import contextlib
import hashlib
import http.server
import json
import os
import re
import threading

import pytest
from api_client import post
from split_model import split

NO_MODEL = 3
REPO = "Some/Model-GGUF"
SHA256 = "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db"  # of the default model


def content(name, n=50_000):
    return hashlib.sha256(name.encode()).digest() * (n // 32)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """Both hubs: server.files are those of REPO, server.change alters the entry of a list."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def entry(self, path, data):
        if self.path.startswith("/api/models"):
            return {"type": "file", "oid": "0" * 40, "size": len(data), "path": path,
                    "lfs": {"oid": sha256(data), "size": len(data), "pointerSize": 134}}  # fmt: skip
        return {"Name": path.split("/")[-1], "Path": path, "Type": "blob", "Size": len(data), "Sha256": sha256(data)}

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if server.down and self.path.startswith(server.down):
            return self.send(503)
        face = self.path == f"/api/models/{REPO}/tree/main?recursive=1"
        scope = self.path == f"/api/v1/models/{REPO}/repo/files?Revision=master&Recursive=true"
        if face or scope:
            if server.list is not None:
                return self.send(200, server.list)
            entries = [server.change(self.entry(p, d)) for p, d in server.files.items()]
            document = entries if face else {"Code": 200, "Data": {"Files": entries}, "Success": True}
            return self.send(200, json.dumps(document).encode())
        found = re.fullmatch(f"(?:/{REPO}/resolve/main|/models/{REPO}/resolve/master)/(.*)", self.path)
        if found and found[1] in server.files:
            return self.send(302, Location=f"/cdn/{found[1]}", X_Linked_ETag="x")
        data = server.files.get(self.path.removeprefix("/cdn/"))
        if data is None:
            return self.send(404 if self.path.startswith("/cdn") else 401)
        if server.breaks and "Range" not in self.headers:
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:20_000])
            return None
        at = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not at:
            return self.send(200, data)
        at = int(at[1])
        return self.send(206, data[at:], Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}")


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    names = ("m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-IQ1_S.gguf", "mmproj-Q4_K_M.gguf", "README.md")
    server.files = {name: content(name) for name in names}
    server.requests, server.list, server.down, server.breaks = [], None, None, False
    server.change = lambda entry: entry
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def env(home, hub):
    return {
        "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "HF_ENDPOINT": hub.url, "MODELSCOPE_ENDPOINT": hub.url,
        "HF_HOME": "", "HF_HUB_CACHE": "", "OLLAMA_MODELS": "", "KINGLET_MODEL": "", "http_proxy": "", "LOG_LEVEL": "",
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "",
    }  # fmt: skip


@pytest.fixture
def pull(run_kinglet, env):
    def run(*args, check=False, **more):
        return run_kinglet("pull", *args, env={**env, **more}, timeout=60, check=check)

    return run


@pytest.fixture
def models(home):
    return home / "cache" / "kinglet" / "models"


def downloads(hub):
    return [path for path, _ in hub.requests if path.startswith("/cdn/")]


# ---- repositories --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, file",
    [
        (REPO, "m-Q4_K_M.gguf"),
        (f"{REPO}:Q8_0", "m-Q8_0.gguf"),
        (f"{REPO}:q2_k", "m-Q2_K.gguf"),
        (f"{REPO}:latest", "m-Q4_K_M.gguf"),
        (f"hf.co/{REPO}:Q8_0", "m-Q8_0.gguf"),
    ],
)
def test_the_named_quant_is_fetched_once(pull, hub, models, name, file):
    done = pull(name)
    assert done.returncode == 0, done.stderr
    path = models / REPO / file
    assert done.stdout.decode() == f"{path}\n" and path.read_bytes() == content(file)
    asked = len(hub.requests)
    assert pull(name).stdout.decode() == f"{path}\n" and len(hub.requests) == asked
    assert pull("--offline", name).returncode == 0
    # its own name finds it, too
    assert pull("--offline", file.removesuffix(".gguf").upper()).stdout.decode() == f"{path}\n"


def test_the_choice_is_shown_and_can_be_listed(pull, hub, models):
    done = pull("--list", REPO)
    listed = done.stdout.decode()
    assert done.returncode == 0 and downloads(hub) == [] and not models.exists()
    lines = {line.split()[-1] if "<-" not in line else line.split()[-3]: line for line in listed.splitlines()}
    assert "50.0 kB" in lines["m-Q2_K.gguf"] and " yes " in lines["m-Q2_K.gguf"]
    assert "type not supported" in lines["m-IQ1_S.gguf"] and "<- taken" in lines["m-Q4_K_M.gguf"]
    assert "mmproj" not in listed and "README" not in listed
    assert "m-Q2_K.gguf" in pull(REPO).stderr.decode()


def test_without_the_usual_quants_the_first_is_taken(pull, hub, models):
    hub.files = {"b-Q6_K.gguf": content("b"), "a-Q5_0.gguf": content("a")}
    assert pull(REPO).stdout.decode() == f"{models / REPO / 'b-Q6_K.gguf'}\n"


def test_modelscope_stands_in(pull, hub, models):
    hub.down = "/api/models"
    done = pull(REPO)
    assert done.returncode == 0 and b"Hugging Face: the server answered 503" in done.stderr
    assert (models / REPO / "m-Q4_K_M.gguf").read_bytes() == content("m-Q4_K_M.gguf")
    assert f"/models/{REPO}/resolve/master/m-Q4_K_M.gguf" in [path for path, _ in hub.requests]


def test_the_other_hub_sends_what_one_does_not(pull, hub, models):
    hub.down = f"/{REPO}/resolve"
    assert pull(REPO).returncode == 0
    assert (models / REPO / "m-Q4_K_M.gguf").read_bytes() == content("m-Q4_K_M.gguf")


def test_a_broken_download_is_continued(pull, hub, models):
    hub.breaks = True
    assert pull(REPO).returncode == 0
    assert ("/cdn/m-Q4_K_M.gguf", "bytes=20000-") in hub.requests
    assert os.listdir(models / REPO) == ["m-Q4_K_M.gguf"]


def test_other_bytes_than_the_list_says_are_refused(pull, hub, models):
    def change(entry):
        entry["lfs"]["oid"] = "0" * 64
        return entry

    hub.change = change
    done = pull(REPO)
    assert done.returncode == NO_MODEL and b"wrong contents" in done.stderr
    assert os.listdir(models / REPO) == []


def test_unknown_repositories_and_quants(pull, hub):
    done = pull("Some/Other")
    assert done.returncode == NO_MODEL and b"no such repository, or it is not public" in done.stderr
    done = pull(f"{REPO}:Q5_K_M")
    assert done.returncode == NO_MODEL and b"has no file for Q5_K_M" in done.stderr
    assert b"m-Q8_0.gguf" in done.stderr  # there is a choice
    done = pull(f"{REPO}:IQ1_S")
    assert done.returncode == 1 and b"type not supported" in done.stderr
    done = pull("--offline", REPO)
    assert done.returncode == NO_MODEL and b"is not on this computer" in done.stderr
    assert downloads(hub) == []


def test_plain_http_is_for_this_computer_only(pull):
    done = pull(REPO, HF_ENDPOINT="http://192.0.2.1", MODELSCOPE_ENDPOINT="http://127.0.0.1.evil.example")
    assert done.returncode == NO_MODEL
    assert done.stderr.count(b"so it must come by https") == 2


# ---- hostile lists -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../x-Q4_K_M.gguf", "/etc/x-Q4_K_M.gguf", "a/../../x-Q4_K_M.gguf", "a//x.gguf", ".x.gguf", "-x.gguf", "a b.gguf",
     "x%2e.gguf", "x\x1b[2J.gguf", "é.gguf", "a/b/c/d/x.gguf", "x" * 300 + ".gguf", "x?.gguf"],
)  # fmt: skip
def test_names_that_could_escape_are_left_out(pull, hub, models, path):
    hub.files = {path: content("x")}
    done = pull(REPO)
    assert done.returncode == NO_MODEL and b"has no GGUF files" in done.stderr
    assert b"\x1b" not in done.stderr and not models.exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[", b"null", b"[" * 5000, b'[{"path":7}]', b'{"Data":{"Files":7}}', b"<html>",
     b'[{"type":"file","path":"x.gguf","size":-1,"lfs":{"oid":"0","size":1e300}}]',
     b'["' + b"x" * (5 << 20) + b'"]', b"[" + b"1," * 200_000 + b"1]"],
    ids=range(11),
)  # fmt: skip
def test_lists_that_are_none_are_refused(pull, hub, models, body):
    hub.list = body
    done = pull(REPO)
    assert done.returncode == NO_MODEL and b"no hub has" in done.stderr
    assert len(done.stderr) < 2000 and not models.exists()


@pytest.mark.parametrize("oid", ["", "12", "g" * 64, "0" * 65, None, 7])
def test_a_file_without_a_hash_is_refused(pull, hub, oid):
    def change(entry):
        entry["lfs"]["oid"] = oid
        return entry

    hub.change = change
    done = pull(REPO)
    assert done.returncode == NO_MODEL and b"names no SHA-256" in done.stderr and downloads(hub) == []


def test_a_size_that_no_disk_has_is_refused(pull, hub):
    def change(entry):
        entry["lfs"]["size"] = 1 << 39
        return entry

    hub.change = change
    done = pull(REPO)
    assert done.returncode == 1 and b"not enough space" in done.stderr and downloads(hub) == []


# ---- split models --------------------------------------------------------------------------------


@pytest.fixture
def parts(hub, tiny_model_path, tmp_path):
    """The tiny model in parts, in a directory of the repository."""
    paths = split(tiny_model_path, tmp_path / "t-Q4_K_M", 10)
    hub.files = {f"Q4_K_M/{p.name}": p.read_bytes() for p in paths}
    return [p.name for p in paths]


def test_all_parts_are_fetched(pull, hub, models, parts, run_kinglet, env):
    done = pull(REPO)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(models / REPO)) == parts
    assert done.stdout.decode() == f"{models / REPO / parts[0]}\n"
    assert f"({len(parts)} files)" in pull("--list", REPO).stdout.decode()
    # one part is missing: only that one is fetched again
    (models / REPO / parts[1]).unlink()
    hub.requests.clear()
    assert pull(REPO).returncode == 0 and downloads(hub) == [f"/cdn/Q4_K_M/{parts[1]}"]
    said = run_kinglet("chat", "-m", REPO, "-t", 1, "-n", 4, "hi", env=env)
    assert said.returncode == 0


def test_a_repository_without_a_part_is_refused(pull, hub, parts):
    del hub.files[f"Q4_K_M/{parts[-1]}"]
    done = pull(REPO)
    assert done.returncode == NO_MODEL and f"lacks part {len(parts)} of {len(parts)}".encode() in done.stderr


# ---- addresses -----------------------------------------------------------------------------------


def test_an_address_is_enough(pull, hub, models):
    done = pull(f"{hub.url}/cdn/m-Q8_0.gguf?download=true")
    assert done.returncode == NO_MODEL  # this server does not know the query
    done = pull(f"{hub.url}/cdn/m-Q8_0.gguf")
    assert done.returncode == 0 and done.stdout.decode() == f"{models / 'm-Q8_0.gguf'}\n"
    assert f"its SHA-256 is {sha256(content('m-Q8_0.gguf'))}".encode() in done.stderr
    done = pull(f"{hub.url}/cdn/m-Q2_K.gguf", "--sha256", sha256(content("m-Q2_K.gguf")))
    assert done.returncode == 0 and b"Warning" not in done.stderr
    done = pull("other", "--url", f"{hub.url}/cdn/m-Q2_K.gguf", "--sha256", "0" * 64)
    assert done.returncode == NO_MODEL and not (models / "other.gguf").exists()


@pytest.mark.parametrize("way", ["resolve", "blob"])
def test_an_address_of_a_hub_is_checked_as_its_list_says(pull, hub, models, way):
    done = pull(f"{hub.url}/{REPO}/{way}/main/m-Q2_K.gguf?download=true")
    assert done.returncode == 0 and b"Warning" not in done.stderr
    assert done.stdout.decode() == f"{models / REPO / 'm-Q2_K.gguf'}\n"
    done = pull(f"{hub.url}/{REPO}/{way}/main/other.gguf")
    assert done.returncode == NO_MODEL and b"has no GGUF file other.gguf" in done.stderr
    assert f"{REPO}/m-Q2_K.gguf" in pull("--list").stdout.decode()


def test_an_address_of_a_first_part_fetches_all(pull, hub, models, parts):
    done = pull(f"{hub.url}/cdn/Q4_K_M/{parts[0]}")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(models)) == parts
    done = pull(f"{hub.url}/cdn/Q4_K_M/{parts[1]}")
    assert done.returncode == 2 and b"give the address of the first" in done.stderr


@pytest.mark.parametrize(
    "args, words",
    [
        (["http://192.0.2.1/m.gguf"], b"without https anyone on the way"),
        (["http://127.0.0.1.evil.example/m.gguf"], b"without https"),
        (["http://localhost@192.0.2.1/m.gguf"], b"without https"),
        (["ftp://h/m.gguf"], b"expected an http or https address"),
        (["file:///etc/passwd"], b"expected an http or https address"),
        (["https://127.0.0.1:1/m.bin"], b"does not end in NAME.gguf"),
        (["https://127.0.0.1:1/..gguf"], b"cannot be the name of a model"),
        (["https://127.0.0.1:1/m.gguf", "--sha256", "12"], b"64 hexadecimal digits"),
        (["https://127.0.0.1:1/m.gguf", "--offline"], b"without --offline"),
    ],
)
def test_addresses_that_are_refused(pull, models, args, words):
    done = pull(*args)
    assert done.returncode == 2 and words in done.stderr
    assert not models.exists() or os.listdir(models) == []


# ---- other programs' directories -----------------------------------------------------------------


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def hugging_face(root, files, commit="a" * 40, main=True):
    """Files as huggingface_hub keeps them: blobs, and links in a snapshot."""
    base = root / f"models--{REPO.replace('/', '--')}"
    for name, data in files.items():
        blob = put(base / "blobs" / sha256(data), data)
        link = base / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if main:
        put(base / "refs" / "main", commit.encode())
    return base / "snapshots" / commit


@pytest.mark.parametrize("where", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_hugging_faces_files_are_used(pull, hub, home, tmp_path, where):
    place = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub",
             "HOME": ".cache/huggingface/hub"}[where]  # fmt: skip
    root = home if where == "HOME" else tmp_path / "elsewhere"
    more = {where: str(root)} | ({"XDG_CACHE_HOME": ""} if where == "HOME" else {})
    directory = hugging_face(root / place, {"m-Q4_K_M.gguf": content("a"), "m-Q8_0.gguf": content("b")})
    assert pull(REPO, **more).stdout.decode() == f"{directory / 'm-Q4_K_M.gguf'}\n"
    assert pull(f"{REPO}:Q8_0", **more).stdout.decode() == f"{directory / 'm-Q8_0.gguf'}\n"
    assert hub.requests == []


def test_the_snapshot_of_main_is_preferred_and_dead_links_are_not_used(pull, home):
    root = home / "cache" / "huggingface" / "hub"
    hugging_face(root, {"m-Q4_K_M.gguf": content("old")}, "b" * 40)
    directory = hugging_face(root, {"m-Q4_K_M.gguf": content("new")})
    assert pull("--offline", REPO).stdout.decode() == f"{directory / 'm-Q4_K_M.gguf'}\n"
    (root / f"models--{REPO.replace('/', '--')}" / "blobs" / sha256(content("new"))).unlink()
    assert str("b" * 40) in pull("--offline", REPO).stdout.decode()
    put(root / f"models--{REPO.replace('/', '--')}" / "refs" / "main", b"../../../../../../etc")
    assert str("b" * 40) in pull("--offline", REPO).stdout.decode()


def test_a_model_of_the_catalogue_is_found_there(pull, home):
    base = home / "cache" / "huggingface" / "hub" / "models--Qwen--Qwen2.5-0.5B-Instruct-GGUF"
    file = base / "snapshots" / ("c" * 40) / "qwen2.5-0.5b-instruct-q4_k_m.gguf"
    put(file, b"")
    assert pull("--offline").returncode == NO_MODEL  # of another size
    os.truncate(file, 491_400_032)
    assert pull("--offline").stdout.decode() == f"{file}\n"
    for name, code in ((SHA256, 0), ("0" * 64, NO_MODEL)):  # the name of the blob says what it is
        blob = base / "blobs" / name
        blob.parent.mkdir(exist_ok=True)
        file.rename(blob) if not file.is_symlink() else (base / "blobs" / SHA256).rename(blob)
        file.unlink(missing_ok=True)
        file.symlink_to(f"../../blobs/{name}")
        assert pull("--offline").returncode == code


def ollama(root, host, name, tag, data, **change):
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64, "size": 3},
        {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + sha256(data), "size": len(data)} | change,
    ]  # fmt: skip
    manifest = {"schemaVersion": 2, "layers": layers}
    put(root / "manifests" / host / name / tag, json.dumps(manifest).encode())
    return put(root / "blobs" / f"sha256-{sha256(data)}", data)


def test_ollamas_models_are_used(run_kinglet, pull, hub, env, home, tiny_model_path):
    root = home / ".ollama" / "models"
    blob = ollama(root, "registry.ollama.ai", "library/tiny", "1b", tiny_model_path.read_bytes())
    assert pull("tiny:1b").stdout.decode() == f"{blob}\n"
    assert pull("--offline", "tiny").returncode == NO_MODEL
    ollama(root, "registry.ollama.ai", "library/tiny", "latest", tiny_model_path.read_bytes())
    assert pull("tiny").stdout.decode() == f"{blob}\n"
    other = ollama(root, "hf.co", REPO, "Q4_K_M", content("of hf.co"))
    assert pull("--offline", f"hf.co/{REPO}:Q4_K_M").stdout.decode() == f"{other}\n"
    assert hub.requests == []
    assert run_kinglet("chat", "-m", "tiny:1b", "-t", 1, "-n", 4, "hi", env=env).returncode == 0


@pytest.mark.parametrize(
    "change", [{"digest": "sha256:../../../../etc/passwd"}, {"digest": ""}, {"size": 5}, {"mediaType": "other"}]
)
def test_manifests_that_name_no_model_are_passed_over(pull, home, change):
    ollama(home / ".ollama" / "models", "registry.ollama.ai", "library/tiny", "1b", content("x"), **change)
    done = pull("--offline", "tiny:1b")
    assert done.returncode == 2 and b"cannot be the name of a model" in done.stderr


# ---- short names and clients ---------------------------------------------------------------------


def test_short_names_stand_for_repositories(pull, hub):
    listed = pull("--list").stdout.decode()
    for name in ("qwen2.5-1.5b-instruct", "qwen2.5-coder-3b-instruct", "qwen3-0.6b", "smollm2-1.7b-instruct",
                 "llama-3.2-1b-instruct"):  # fmt: skip
        assert name in listed
    assert pull("qwen3-0.6b").returncode == NO_MODEL
    assert hub.requests[0][0] == "/api/models/Qwen/Qwen3-0.6B-GGUF/tree/main?recursive=1"
    done = pull("--offline", "llama-3.2-1b-instrct")
    assert b"did you mean llama-3.2-1b-instruct?" in done.stderr


def test_a_client_pulls_a_repository(start_server, hub, env, models):
    server = start_server("--offline", "--allow-pull", env=env)
    reply = post(server, "/api/pull", {"model": f"hf.co/{REPO}:Q8_0"})
    lines = [json.loads(line) for line in reply.body.decode().splitlines()]
    assert lines[-1] == {"status": "success"}, lines
    assert (models / REPO / "m-Q8_0.gguf").read_bytes() == content("m-Q8_0.gguf")
    assert post(server, "/api/pull", {"model": f"{REPO}:Q8_0", "stream": False}).json() == {"status": "success"}
    for name in ("../x", "/etc/passwd", "a/b/c", "a/b.gguf", "x" * 1000):
        assert post(server, "/api/pull", {"model": name, "stream": False}).status == 404, name
    reply = post(server, "/api/pull", {"model": "Some/Other", "stream": False})
    assert reply.status == 502


def test_serve_downloads_what_it_is_to_serve(start_server, hub, env, tiny_model_path):
    hub.files = {"t-Q4_K_M.gguf": tiny_model_path.read_bytes()}
    server = start_server("-t", 1, model=REPO, env=env)
    assert b"t-Q4_K_M" in post(server, "/api/show", {"model": "t-Q4_K_M"}).body

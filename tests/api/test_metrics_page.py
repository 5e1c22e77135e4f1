"""GET /metrics, read by Prometheus' own Python client."""

import re
from pathlib import Path

from api_client import complete, get
from prometheus_client.parser import text_string_to_metric_families

OPERATING = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def families(server, headers=None):
    reply = get(server, "/metrics", headers=headers)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {f.name: f for f in text_string_to_metric_families(reply.body.decode())}


def value(families, name, **labels):
    found = [s.value for s in families[name].samples if labels.items() <= s.labels.items()]
    assert len(found) == 1, (name, labels, families[name])
    return found[0]


def test_an_answer_is_counted(tiny):
    before = families(tiny)
    usage = complete(tiny, max_tokens=5)["usage"]
    after = families(tiny)

    def grown(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("kinglet_requests", end="answered") == 1
    assert grown("kinglet_requests", end="client_left") == 0
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert grown("kinglet_tokens", kind="prompt") == usage["prompt_tokens"] - cached
    assert value(after, "kinglet_requests_active", state="running") == 0
    assert value(after, "kinglet_ready") == 1
    assert value(after, "kinglet_resident_memory_bytes") > 1e6
    assert after["kinglet_build_info"].samples[0].labels["model"] == "tiny"


def test_histograms_add_up(tiny):
    complete(tiny, max_tokens=5)
    histograms = [f for f in families(tiny).values() if f.type == "histogram"]
    assert len(histograms) == 4
    for family in histograms:
        buckets = [s for s in family.samples if s.name.endswith("_bucket")]
        counts = [s.value for s in buckets]
        (count,) = (s.value for s in family.samples if s.name.endswith("_count"))
        assert counts == sorted(counts) and buckets[-1].labels["le"] == "+Inf"
        assert counts[-1] == count > 0


def test_names_follow_the_conventions(tiny):
    for family in families(tiny).values():
        assert family.name.startswith("kinglet_") and family.documentation
        assert family.type in ("counter", "gauge", "histogram")


def test_each_metric_is_documented(server_factory, tiny_model_path, tmp_path):
    """docs/operating.md has a row for each family, with its type, and each value of its labels."""
    second = tmp_path / "second.gguf"
    second.symlink_to(tiny_model_path)
    server = server_factory("--offline", "--model", second, model=tiny_model_path)
    text = OPERATING.read_text()
    rows = re.findall(r"^\| `(kinglet_\w+)` \| (\w+) \| (.*) \|$", text, re.M)
    ends = text.split("| `end` | the request |\n")[1].split("\n\n")[0]
    named = {name: set(re.findall(r"`(\w+)`", about)) for name, _, about in rows}
    named["kinglet_requests_total"] |= set(re.findall(r"^\| `(\w+)`", ends, re.M))
    found = families(server).values()
    server.end()
    types = {f.name + ("_total" if f.type == "counter" else ""): f.type for f in found}
    assert sorted((name, kind) for name, kind, _ in rows) == sorted(types.items())
    for family in found:
        for sample in family.samples:
            for label, said in sample.labels.items():
                if label in ("cause", "end", "kind", "state"):
                    assert {label, said} <= named[sample.name], (sample.name, label, said)


def test_the_memory_limit(start_server, tiny):
    def limit(server):
        return value(families(server), "kinglet_memory_limit_bytes")

    assert limit(start_server("--offline", "--memory", "1G")) == 1 << 30
    assert limit(tiny) > 1 << 30  # the limit of the control group, or the computer's memory


def test_a_cache_that_is_not_written(start_server, tiny):
    off = families(start_server("--offline", "--cache-disk", 0))
    assert value(off, "kinglet_disk_on") == value(off, "kinglet_disk_max_bytes") == 0
    assert value(families(tiny), "kinglet_disk_max_bytes") == 256 << 20


def test_a_server_with_keys_requires_one(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-key-of-mine\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys)
    assert get(server, "/metrics").status == 401
    families(server, headers={"Authorization": "Bearer secret-key-of-mine"})


def test_while_the_model_is_loaded(hold_server):
    held = hold_server()
    found = families(held.server)
    assert value(found, "kinglet_ready") == 0
    assert value(found, "kinglet_requests", end="answered") == 0

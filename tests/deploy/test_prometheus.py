"""deploy/prometheus and /metrics, used by a real Prometheus."""

import re
import subprocess

import pytest
from api_client import get
from watching import REPOSITORY, SHIPPED

RULES = SHIPPED / "kinglet.rules.yml"
RULES_TEST = SHIPPED / "kinglet.rules.test.yml"
OPERATING = REPOSITORY / "docs" / "operating.md"


def promtool(*arguments, **options):
    done = subprocess.run(["promtool", *arguments], capture_output=True, timeout=120, **options)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def metrics_of(expression):
    return set(re.findall(r"\bkinglet_\w+", expression))


def rules_of(prometheus):
    return [r for group in prometheus.api("rules")["groups"] for r in group["rules"]]


@pytest.fixture(scope="session")
def alerts():
    """The names of all alerts."""
    return re.findall(r"- alert: (\w+)", RULES.read_text())


def test_the_names_follow_the_conventions(watched):
    said = promtool("check", "metrics", input=get(watched.server, "/metrics").body)
    assert said == ""


def test_a_wrong_name_is_reported():
    page = b"# HELP kinglet_wait_milliseconds w\n# TYPE kinglet_wait_milliseconds counter\n"
    with pytest.raises(AssertionError, match="_total"):
        promtool("check", "metrics", input=page + b"kinglet_wait_milliseconds 1\n")


def test_the_configuration_is_valid():
    promtool("check", "config", SHIPPED / "prometheus.yml")


def test_the_alerts(alerts):
    promtool("test", "rules", RULES_TEST)
    checked = re.findall(r"alertname: (\w+)\n\s+exp_alerts:( \[\])?", RULES_TEST.read_text())
    assert {name for name, none in checked if none} == set(alerts)  # each is silent at first
    assert {name for name, none in checked if not none} == set(alerts)


def test_every_alert_is_explained(alerts):
    explained = re.findall(r"^\| `(Kinglet\w+)`", OPERATING.read_text(), re.M)
    assert sorted(explained) == sorted(alerts)


def test_the_server_is_scraped(watched):
    (target,) = watched.prometheus.api("targets")["activeTargets"]
    assert target["health"] == "up" and target["lastError"] == ""
    ((labels, value),) = watched.prometheus.query("up")
    assert value == 1
    assert labels["job"] == "kinglet" and labels["instance"] == f"127.0.0.1:{watched.server.port}"


def test_the_rules_are_evaluated(watched, alerts):
    def evaluated():
        return all(r["health"] != "unknown" for r in rules_of(watched.prometheus))

    watched.prometheus.wait_until(evaluated, "evaluate its rules")
    rules = rules_of(watched.prometheus)
    assert sorted(r["name"] for r in rules) == sorted(alerts)
    assert {r["name"]: r.get("lastError", "") for r in rules if r["health"] != "ok"} == {}


def test_the_rules_name_metrics_that_exist(watched):
    for rule in rules_of(watched.prometheus):
        assert metrics_of(rule["query"]) or rule["name"] == "KingletDown"
        for name in metrics_of(rule["query"]):
            assert watched.prometheus.query(name), (rule["name"], name)


def test_the_rules_name_labels_that_exist(watched):
    """With a misspelt value of a label, an alert would never fire."""
    selectors = re.findall(r"\bkinglet_\w+\{[^}]*\}", RULES.read_text())
    assert selectors
    for selector in selectors:
        assert watched.prometheus.query(selector), selector


def test_a_server_with_keys_until_it_ends(start_server, start_prometheus, tmp_path):
    """Uses the lines for a key, which are a comment in the configuration; then the first alert fires."""
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-prometheus\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys)
    prometheus = start_prometheus(server, key="a-key-of-prometheus")
    prometheus.wait_for("kinglet_ready == 1")
    server.stop()
    prometheus.wait_for('ALERTS{alertname="KingletDown",alertstate="pending"}')

"""deploy/grafana: the dashboard agrees with the generator, and each of its queries has a result."""

import json
import math
import re
import subprocess
import sys

import pytest
from watching import REPOSITORY

SHIPPED = REPOSITORY / "deploy" / "grafana"
GENERATOR = REPOSITORY / "tools" / "grafana-dashboard"


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((SHIPPED / "kinglet.json").read_text())


def queries(watched, dashboard):
    """Returns (panel, target, expression as Grafana would send it) of all queries."""
    server = re.escape(f"127.0.0.1:{watched.server.port}").replace("\\", "\\\\")
    for panel in panels(dashboard):
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", server)
            yield panel, target, expression.replace("$__rate_interval", "10m")


def panels(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def test_the_dashboard_agrees_with_the_generator():
    made = subprocess.run([sys.executable, GENERATOR], check=True, capture_output=True)
    assert made.stdout.decode() == (SHIPPED / "kinglet.json").read_text()


def test_the_panels_fill_the_grid(dashboard):
    taken = set()
    for panel in dashboard["panels"]:
        g = panel["gridPos"]
        columns = range(g["x"], g["x"] + g["w"])
        cells = {(x, y) for x in columns for y in range(g["y"], g["y"] + g["h"])}
        assert not taken & cells and columns[-1] < 24, panel["title"]
        taken |= cells
    assert len(taken) == 24 * (1 + max(y for _, y in taken))
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_panel_has_a_description(dashboard):
    assert len(panels(dashboard)) > 20
    for panel in panels(dashboard):
        assert panel["title"] and panel["description"] and panel["targets"], panel
        assert all("$instance" in t["expr"] for t in panel["targets"])


def test_every_query_has_a_result(watched, dashboard):
    """Events that have not happened have a result, too: a counter of 0."""
    for panel, target, expression in queries(watched, dashboard):
        found = watched.prometheus.query(expression)
        assert found, (panel["title"], expression)
        assert all(math.isfinite(v) for _, v in found), (panel["title"], expression, found)
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert all(label in labels for labels, _ in found), (panel["title"], label)


def test_load_is_shown(watched, dashboard):
    """The panels show the requests that were sent."""
    shown = {}
    for panel, target, expression in queries(watched, dashboard):
        for labels, value in watched.prometheus.query(expression):
            name = labels.get("end") or labels.get("kind") or target["refId"]
            shown[panel["title"], name] = value
    assert shown["Requests", "answered"] > 0 and shown["Requests", "refused_queue_full"] > 0
    assert shown["Ended early", "client_left"] > 0 and shown["Refused and failed", "A"] > 0
    assert shown["Refused and failed", "B"] == 0 == shown["Log lines dropped", "A"]
    assert shown["Tokens", "answer"] > 0 and shown["Wasted tokens", "wasted"] > 0
    assert 0 < shown["Cached share of prompts", "A"] < 1
    assert 0 < shown["Share of the limit", "A"] < 1


def test_the_variables_find_the_server(watched, dashboard):
    source, instance = dashboard["templating"]["list"]
    assert source["type"] == "datasource" and source["query"] == "prometheus"
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", instance["query"]).groups()
    found = {labels[label] for labels, _ in watched.prometheus.query(name)}
    assert f"127.0.0.1:{watched.server.port}" in found


def test_the_provisioning_fits(dashboard):
    """The data source has the type that the dashboard requires, and Prometheus' scrape interval, from
    which Grafana computes $__rate_interval."""
    source = (SHIPPED / "provisioning" / "datasources" / "datasources.yml").read_text()
    assert "type: prometheus\n" in source
    interval = re.search(r"timeInterval: (\w+)", source)[1]
    scraped = (REPOSITORY / "deploy" / "prometheus" / "prometheus.yml").read_text()
    assert f"scrape_interval: {interval}\n" in scraped
    kinds = {p["datasource"]["type"] for p in panels(dashboard)}
    assert kinds == {"prometheus"}

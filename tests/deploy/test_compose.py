"""compose.yaml is valid, confines its services, and agrees with the mounted files and the program."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import compose_spec
import pytest
import yaml
from api_client import get
from proxies import DEPLOY

REPOSITORY = DEPLOY.parent


@pytest.fixture(scope="module")
def compose():
    """The content of the file, with references resolved."""
    return yaml.safe_load((REPOSITORY / "compose.yaml").read_text())


def mounts(service):
    """Returns (source, target, mode) of each mount."""
    return [(*volume.split(":"), "rw")[:3] for volume in service.get("volumes", ())]


def test_it_is_valid(compose):
    """Validated by the Compose Specification; unknown fields are refused."""
    parsed = compose_spec.PyCompose.from_json(json.dumps(compose))
    parsed.validate()
    assert set(parsed.service_names()) == {"kinglet", "nginx", "prometheus", "grafana"}
    with pytest.raises(Exception, match="read_onyl"):
        compose_spec.PyCompose.from_json(json.dumps(compose).replace("read_only", "read_onyl"))


def test_mounted_files_exist(compose):
    used = set()
    for service in compose["services"].values():
        for what, where, how in mounts(service):
            assert where.startswith("/")
            if what.startswith("./"):
                assert (REPOSITORY / what).exists() and how == "ro", what
            else:
                used.add(what)
    assert used == set(compose["volumes"])


def test_all_services_are_confined(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
        assert re.search(r":v?\d+\.\d+", service["image"]), "an image without a version"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "a port without keys is only for this computer"
    assert "ports" not in compose["services"]["kinglet"]


def test_the_image_is_of_this_version(compose):
    version = re.search(r"version: '([^']+)'", (REPOSITORY / "meson.build").read_text())[1]
    assert compose["services"]["kinglet"]["image"] == f"kinglet:{version}"
    (volume,) = mounts(compose["services"]["kinglet"])
    assert f"\nVOLUME {volume[1]}\n" in (REPOSITORY / "Dockerfile").read_text()


def test_services_find_each_other(compose):
    """Names and ports agree with the mounted files."""
    targets = yaml.safe_load((DEPLOY / "prometheus" / "targets.yml").read_text())
    assert [t["targets"] for t in targets] == [["kinglet:7860"]]
    assert "\nEXPOSE 7860\n" in (REPOSITORY / "Dockerfile").read_text()
    sources = DEPLOY / "grafana" / "provisioning" / "datasources" / "datasources.yml"
    assert yaml.safe_load(sources.read_text())["datasources"][0]["url"] == "http://prometheus:9090"
    boards = DEPLOY / "grafana" / "provisioning" / "dashboards" / "dashboards.yml"
    (provider,) = yaml.safe_load(boards.read_text())["providers"]
    dashboard = f"{provider['options']['path']}/kinglet.json"
    assert dashboard in [where for _, where, _ in mounts(compose["services"]["grafana"])]


def test_nginx_forwards_to_kinglet(compose, tmp_path):
    """Checks the changes that its command makes to the configuration of test_nginx.py."""
    service = compose["services"]["nginx"]
    shell, option, script = service["command"]
    change, start = script.split(" && ")
    assert start == "exec nginx -g 'daemon off;'"
    source, target = "/kinglet.conf", "/etc/nginx/conf.d/default.conf"
    assert change.endswith(f" {source} >{target}") and str(Path(target).parent) in service["tmpfs"]
    assert (source, "ro") in [(where, how) for _, where, how in mounts(service)]
    change = change.removesuffix(f" {source} >{target}")
    shipped = DEPLOY / "nginx" / "kinglet.conf"
    made = subprocess.run(
        [shell, option, f"{change} {shlex.quote(str(shipped))}"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    expected = shipped.read_text().replace("server 127.0.0.1:7860;", "server kinglet:7860;")
    assert made == expected != shipped.read_text()


def test_grafana_requires_a_password(compose):
    """The file has none and requires one, in the notation of the shell."""
    value = compose["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]

    def given(environment):
        return subprocess.run(
            ["sh", "-c", f'printf %s "{value}"'], capture_output=True, text=True, env=environment
        )

    assert given({"GRAFANA_PASSWORD": "of-mine"}).stdout == "of-mine"
    for nothing in ({}, {"GRAFANA_PASSWORD": ""}):
        refused = given(nothing)
        assert refused.returncode != 0 and ".env" in refused.stderr
    for ignored in (".gitignore", ".dockerignore"):
        assert "\n.env\n" in f"\n{(REPOSITORY / ignored).read_text()}"


def test_the_command_of_kinglet(compose, start_server):
    """The program accepts it, and answers Prometheus under the name of the service."""
    command = compose["services"]["kinglet"]["command"]
    assert command[:3] == ["serve", "--host", "0.0.0.0"]
    server = start_server("--offline", *command[3:])
    assert get(server, "/metrics", {"Host": "kinglet:7860"}).status == 200
    assert get(server, "/metrics", {"Host": "other:7860"}).status == 403

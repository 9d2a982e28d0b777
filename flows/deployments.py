"""Holds the flows that the Prefect UI, schedules and workers start, and puts them into service.

``infra/deploy/prefect/prefect.yaml`` says how each is deployed. `python -m flows.deployments serve`
serves all of them with their schedules from this one process; `… automations` loads the
automations.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import yaml
from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from pydantic import BaseModel, ConfigDict, Field

from flows.control.stopping import run_until_told_to_stop
from flows.look.comparing import RunComparison, compare_runs
from flows.look.gates import read_gates, require_passed
from flows.parameters import Gates, Recipe, SynthesisSize, list_preview_overrides
from flows.pipeline import run_pipeline
from flows.recipe.opening import prepare
from flows.recipe.settings import load_settings
from flows.recipe.stages import Stage
from flows.runs.closing import RunResult
from infra.cluster.reaper import reap_children
from infra.errors import ConfigError, OpenCharacterError, Problem
from infra.orchestration.leases import outlive_lost_leases

PREFECT_FOLDER = Path(__file__).resolve().parent.parent / "infra" / "deploy" / "prefect"
DEMO = Recipe()
AS_CONFIGURED = SynthesisSize()
NO_WORSE = Gates()
NOTIFICATION = "send-notification"
START = "run-deployment"

outlive_lost_leases()  # Prefect imports this file into the process that it starts for a run


@flow(name="pipeline", flow_run_name="{recipe.label}: pipeline to {until}")
def pipeline(recipe: Recipe = DEMO, until: Stage = "report") -> RunResult:
    """Run the whole graph on a recipe: data, fine-tuned model, scores, report."""
    return carry_out(recipe, until)


@flow(name="synthesis", flow_run_name="{recipe.label}: synthesis")
def synthesis(recipe: Recipe = DEMO, size: SynthesisSize = AS_CONFIGURED) -> RunResult:
    """Make the data set of a recipe: personas, characters, dialogues, SFT rows, export."""
    return carry_out(recipe, "export", size.list_overrides())


@flow(name="training", flow_run_name="{recipe.label}: training")
def training(recipe: Recipe = DEMO) -> RunResult:
    """Fine-tune on the data set of a recipe; what of it is missing is made first."""
    return carry_out(recipe, "training")


@flow(name="evaluation", flow_run_name="{recipe.label}: evaluation")
def evaluation(recipe: Recipe = DEMO) -> RunResult:
    """Score the models of a recipe and write its report; what is missing is made first."""
    return carry_out(recipe, "report")


@flow(name="preview", flow_run_name="{recipe.label}: preview of {rows} rows")
def preview(
    recipe: Recipe = DEMO,
    rows: Annotated[int, Field(ge=8, le=1000, description="Most rows of each stage.")] = 20,
) -> RunResult:
    """Take a few rows through every stage; the whole run reuses the rows that it made."""
    settings = load_settings(recipe.config, recipe.list_overrides())
    return carry_out(recipe, "report", list_preview_overrides(settings, rows))


@flow(name="gate", flow_run_name="{recipe.label}: gate against {gates.baseline}")
def gate(recipe: Recipe = DEMO, gates: Gates = NO_WORSE) -> RunComparison:
    """Compare the run of a recipe with an earlier one; fails where it misses what it is held to."""
    settings = load_settings(recipe.config, recipe.list_overrides())
    root, held_to = settings.storage.root, read_gates(gates.fail_below)
    found = compare_runs(gates.baseline, settings.run.name, root, gates=held_to)
    require_passed(found.gates)
    return found


def carry_out(recipe: Recipe, until: Stage, changes: Sequence[str] = ()) -> RunResult:
    """Run a recipe inside the current flow run; when it is cancelled, stop it in order."""
    settings = prepare(recipe.config, [*recipe.list_overrides(), *changes])
    with reap_children():
        return run_until_told_to_stop(lambda controller: run_pipeline(settings, controller, until))


class Deployed(BaseModel):
    """What ``prefect.yaml`` says of a deployment; Prefect reads the same."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: tuple[dict[str, Any], ...] = ()
    concurrency_limit: ConcurrencyLimitConfig

    @property
    def flow(self) -> Flow[..., Any]:
        """Return the flow that the entry point names."""
        found: Flow[..., Any] = globals()[self.entrypoint.rpartition(":")[2]]
        return found

    def make(self) -> RunnerDeployment:
        """Return the deployment as a process that serves it needs it."""
        made = self.flow.to_deployment(
            name=self.name,
            description=self.description,
            tags=list(self.tags),
            parameters=self.parameters,
            concurrency_limit=self.concurrency_limit,
            schedules=[
                Cron(
                    item["cron"],
                    timezone=item.get("timezone"),
                    active=item.get("active", True),
                    slug=item.get("slug"),
                )
                for item in self.schedules
            ],
        )
        assert isinstance(made, RunnerDeployment)  # a coroutine only inside an event loop
        return made


def read_deployments(file: Path = PREFECT_FOLDER / "prefect.yaml") -> list[Deployed]:
    """Read the deployments from the file that `prefect deploy --all` reads."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [Deployed.model_validate(item) for item in data["deployments"]]


def read_automations(
    notify: str | None = None,
    deployed: Mapping[str, str] | None = None,
    folder: Path = PREFECT_FOLDER / "automations",
) -> list[AutomationCore]:
    """Read the automations, one a file.

    They name no notification block: ``notify`` is the id of the one that all of them use. Without
    one nobody is told; the automations still show in the UI when they fired. Those that start a
    deployment name it as flow/deployment; ``deployed`` holds the ids, by these names.
    """
    return [
        AutomationCore.model_validate(
            _choose_actions(yaml.safe_load(file.read_text()), notify, deployed or {})
        )
        for file in sorted(folder.glob("*.yaml"))
    ]


def _choose_actions(
    data: dict[str, Any], notify: str | None, deployed: Mapping[str, str]
) -> dict[str, Any]:
    """Put ids in the place of names, and leave out the actions that there are none for."""
    actions = []
    for action in data["actions"]:
        if action["type"] == NOTIFICATION:
            if notify:
                actions.append({**action, "block_document_id": notify})
        elif action["type"] == START:
            started = {key: value for key, value in action.items() if key != "deployment"}
            if known := deployed.get(action["deployment"]):
                actions.append({**started, "source": "selected", "deployment_id": known})
        else:
            actions.append(action)
    return {**data, "actions": actions or [{"type": "do-nothing"}]}


def load_automations(block: str | None) -> list[str]:
    """Create the automations that are missing; return the names of all.

    ``block`` is a notification block as ``type/name``, such as ``slack-webhook/team``. With it,
    those that exist are brought up to date as well; whether they are switched on stays as it is.
    """
    with get_client(sync_client=True) as client:
        notify = None
        if block is not None:
            kind, _, name = block.partition("/")
            try:
                notify = str(client.read_block_document_by_name(name, kind).id)
            except ObjectNotFound as error:
                todo = "make it in the UI under Blocks; give it as type/name, as in its address"
                raise ConfigError(Problem("--notify", f"no block {block}", todo)) from error
        automations = read_automations(notify, _find_deployed(client))
        for automation in automations:
            known = client.read_automations_by_name(automation.name)
            if not known:
                client.create_automation(automation)
            elif notify:
                kept = {"enabled": known[0].enabled}
                client.update_automation(known[0].id, automation.model_copy(update=kept))
        return [automation.name for automation in automations]


def _find_deployed(client: SyncPrefectClient) -> dict[str, str]:
    """Return the ids of the deployments that the server has, by flow/deployment."""
    found = {}
    for item in read_deployments():
        name = f"{item.flow.name}/{item.name}"
        with suppress(ObjectNotFound):
            found[name] = str(client.read_deployment_by_name(name).id)
    return found


def serve_deployments() -> None:
    """Serve every deployment with its schedules from this process, until Ctrl-C."""
    from prefect import serve

    serve(*(item.make() for item in read_deployments()), limit=1)


def main() -> None:
    """Serve the deployments, or load the automations."""
    parser = argparse.ArgumentParser(prog="python -m flows.deployments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve all deployments with their schedules")
    loading = commands.add_parser("automations", help="create or update the automations")
    loading.add_argument(
        "--notify", help="notification block as type/name, for example slack-webhook/team"
    )
    chosen = parser.parse_args()
    try:
        if chosen.command == "serve":
            serve_deployments()
        else:
            print("automations: " + ", ".join(load_automations(chosen.notify)))
    except OpenCharacterError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()

"""Runs nodes as tasks: the one door to Prefect.

A node's cache key is its fingerprint, its result is the small reference to its manifest, kept as
JSON under ``<root>/prefect/``, so an empty Prefect database still shows Cached. A hit counts only
if the manifest and its parts are there unchanged. Only transient errors are retried.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from infra.orchestration.defaults import apply_defaults

apply_defaults()

from prefect import Task, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import FlowPauseTimeout, MissingContextError
from prefect.filesystems import RemoteFileSystem
from prefect.flow_runs import pause_flow_run
from prefect.futures import PrefectFuture
from prefect.input import RunInput
from prefect.settings import get_current_settings
from prefect.tasks import exponential_backoff
from pydantic import Field

from infra.context import Listener
from infra.errors import DamagedFile, InterruptedRun, RequestFailed, TransientError
from infra.nodes.node import Node
from infra.orchestration.courier import Courier
from infra.orchestration.embedded_server import is_embedded
from infra.orchestration.events import announce_stage
from infra.orchestration.retries import RetryConfig
from infra.progress import Progress
from infra.secrets.masking import Masker
from infra.store.damaged_files import fix_node, set_aside_named
from infra.store.manifests import Manifest, NodeRef, is_done, read_manifest, refer_to
from infra.store.storage import is_remote
from infra.threads import start_beside

_ARTIFACT_EVERY_S = 3.0
_LAST_NEWS_S = 10.0
_GLANCE_S = 0.5


class _Job:
    """Node in a wrapping that Prefect does not look into for other tasks' results."""

    def __init__(self, node: Node) -> None:
        self.node = node


def _fingerprint_of(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    return str(parameters["job"].node.spec.fingerprint)


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    error = cast(Any, state.result)(raise_on_failure=False)
    if isinstance(error, RequestFailed) and error.fatal:
        return False
    return isinstance(error, TransientError)


@task(
    name="node",
    persist_result=True,
    result_serializer="json",
    retry_condition_fn=_is_transient,
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_fingerprint_of),
)
def _run_node(job: _Job) -> NodeRef:
    """Make a node, unless it is there; what it came to is published either way."""
    node, context = job.node, job.node.context
    found = node.find()
    if found is None and context.stop.is_set():
        raise InterruptedRun(f"stopped before {node.name}; everything committed is kept")
    reference = refer_to(found) if found else _make(node)
    publish_node(read_manifest(context.storage, reference.manifest))
    return reference


def submit_node(
    node: Node, retry: RetryConfig, after: Iterable[PrefectFuture[NodeRef]]
) -> PrefectFuture[NodeRef]:
    """Start a node in a thread of this process, once what it waits for is done.

    A cache entry whose files are gone or changed is not believed.
    """
    storage = node.context.storage
    configured = _run_node.with_options(
        name=node.name,
        task_run_name=node.name,
        refresh_cache=not is_done(storage, node.spec),
        result_storage=result_storage(storage.root),
        retries=retry.retries,
        retry_delay_seconds=cast(Any, exponential_backoff(retry.first_delay_s)),
    )
    submit = cast(Any, configured.submit)
    return cast(PrefectFuture[NodeRef], submit(_Job(node), wait_for=list(after)))


def _make(node: Node) -> NodeRef:
    """Make a node. Damaged files of its own are set aside, told, and made anew alone."""
    context, spec = node.context, node.spec
    for line in fix_node(context.storage, spec):
        context.listener.node_note(node.name, line)
    while True:
        try:
            return node.make()
        except DamagedFile as error:
            line = set_aside_named(context.storage, error)
            context.listener.node_note(node.name, line)
            if not error.path.startswith(f"{spec.folder}/"):
                raise  # of another node, which is done: the next run makes it anew


def await_node(future: PrefectFuture[NodeRef]) -> NodeRef:
    """Wait for a node; raises what ended it."""
    return _read_reference(future.result())


def _read_reference(value: Any) -> NodeRef:
    """Return a node's result as a reference: Prefect keeps the class by its address.

    Where that has moved since the result was kept, Prefect gives what it kept, as it is.
    """
    if isinstance(value, NodeRef):
        return value
    return NodeRef.model_validate(value.get("data", value))


@functools.cache
def result_storage(root: str) -> Path | RemoteFileSystem:
    """Return where Prefect keeps the references of finished nodes: beside the store itself."""
    if not is_remote(root):
        return Path(root) / "prefect"
    from infra.store.fingerprints import hash_parts

    block = RemoteFileSystem(basepath=f"{root}/prefect")
    block.save(f"opencharacter-{hash_parts(root)[:12]}", overwrite=True)
    return block


class PrefectListener(Listener):
    """Display of progress as artifacts of the running task, and of engine events as log lines.

    Rows do not wait for Prefect's server, and a stage does not end because that is away.
    """

    def __init__(self) -> None:
        self._artifacts: dict[str, UUID] = {}
        self._shown: dict[str, float] = {}
        self._courier = Courier()

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Move the stage's progress artifact, at most every few seconds."""
        if TaskRunContext.get() is None:
            return
        stage, now = progress.stage, time.monotonic()
        if not finished and now - self._shown.get(stage, 0.0) < _ARTIFACT_EVERY_S:
            return
        self._shown[stage] = now
        share, words = 100.0 * progress.share, progress.describe()
        self._courier.send(f"progress of {stage}", partial(self._show, stage, share, words))
        if finished:
            self._courier.flush(_LAST_NEWS_S)

    def _show(self, stage: str, percent: float, words: str) -> None:
        if stage in self._artifacts:
            cast(Any, update_progress_artifact)(self._artifacts[stage], percent, description=words)
            return
        key = f"progress-{stage}".replace("_", "-")
        made = create_progress_artifact(percent, key=key, description=words)
        self._artifacts[stage] = cast(UUID, made)

    def engine_event(self, model: str, text: str) -> None:
        """Log what happened to an engine."""
        try:
            get_run_logger().info("engine %s %s", model, text)
        except MissingContextError:
            return

    def node_note(self, node: str, text: str) -> None:
        """Log what is worth knowing about a node."""
        try:
            get_run_logger().warning("%s: %s", node, text)
        except MissingContextError:
            return

    def engine_log(self, model: str, index: int, text: str) -> None:
        """Publish an engine's own log, so that it is a click away from the run."""
        if not _in_run():
            return
        lines = Masker.collect(text).mask(text).replace("`" * 3, "'" * 3)
        key = re.sub("[^a-z0-9]+", "-", f"engine-{model}-{index}".lower())
        try:
            create_markdown_artifact(f"```text\n{lines}\n```", key=key)
        except Exception as error:  # a server that is gone must not keep an engine from its stop
            self.engine_event(model, f"log not published: {error}")


def _in_run() -> bool:
    """Tell whether there is a flow or task run for artifacts to belong to."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def publish_node(manifest: Manifest) -> None:
    """Publish a finished node as a markdown artifact and, with rejects, a table of reasons."""
    if not _in_run():
        return
    announce_stage(manifest)
    key = manifest.stage.replace("_", "-")
    counts, usage = manifest.counts, manifest.usage
    lines = [
        f"## {manifest.stage}",
        "",
        "| planned | accepted | rejected | made now | reused |",
        "|---|---|---|---|---|",
        f"| {counts.planned} | {counts.accepted} | {counts.rejected} | {counts.made} "
        f"| {counts.reused} |",
        "",
        f"{usage.requests:,} requests, {usage.prompt_tokens:,} prompt tokens "
        f"({usage.cached_tokens:,} from the prefix cache), "
        f"{usage.completion_tokens:,} generated.",
        "",
        f"Recipe `{manifest.recipe}`, fingerprint `{manifest.fingerprint}`.",
    ]
    create_markdown_artifact("\n".join(lines), key=f"stage-{key}")
    if manifest.reasons:
        table = [{"reason": name, "rows": count} for name, count in manifest.reasons.items()]
        create_table_artifact(cast(Any, table), key=f"rejects-{key}")


def publish_plan(table: str) -> None:
    """Publish what a run is about to make, as a table of plain text, in the flow run."""
    if FlowRunContext.get() is not None:
        create_markdown_artifact(f"```text\n{table}\n```", key="plan")


class Approval(RunInput):
    """Form that a paused run shows in the Prefect UI."""

    go_on: bool = Field(True, title="Go on", description="Off: the run ends, and keeps all.")
    by: str = Field("", title="Name", description="Who decides; it is kept in the run's log.")


def can_pause() -> bool:
    """Tell whether a server that outlives this process shows the flow run to people."""
    url = get_current_settings().api.url
    return FlowRunContext.get() is not None and bool(url) and not is_embedded(str(url))


def pause_for_approval(text: str, timeout_s: int, stop: threading.Event) -> bool:
    """Pause the flow run with a form under a text in Markdown; return what was decided.

    Raises :class:`InterruptedRun` when ``stop`` is set, or nobody answers in time.
    """
    form = Approval.with_initial_data(description=text)
    outcome: futures.Future[Approval] = futures.Future()
    pause = partial(pause_flow_run, wait_for_input=form, timeout=timeout_s, poll_interval=2)
    # Prefect looks at nothing but its own state while it waits, so that is done in a thread.
    start_beside(outcome, cast(Callable[[], Approval], pause), "approval", daemon=True)
    while not outcome.done():
        if stop.is_set():
            raise InterruptedRun("stopped while it waited for an approval; the rows are kept")
        futures.wait([outcome], _GLANCE_S)
    try:
        answer = outcome.result()
    except FlowPauseTimeout as error:
        what = "nobody approved the training in time; the rows are kept"
        raise InterruptedRun(what) from error
    get_run_logger().info("approval: go on = %s, by %s", answer.go_on, answer.by or "nobody named")
    return answer.go_on


def publish_report(markdown: str, address: str) -> None:
    """Publish what a run came to, with the address of its page, in the flow run."""
    if FlowRunContext.get() is not None:
        create_markdown_artifact(f"[The report]({address})\n\n{markdown}", key="report")

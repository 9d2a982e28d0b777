"""Reads what finished runs measured, under names that tell the runs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from flows.runs.history import RUNS, RunSummary, read_summary
from infra.errors import ConfigError, Problem
from infra.store.manifests import Manifest, read_manifest, refer_to
from infra.store.reading import read_accepted
from infra.store.storage import Storage, is_remote
from tasks.evaluation.config import EvaluatedModel
from tasks.records import Answer, Attribution, Judgement

R = TypeVar("R", Answer, Attribution, Judgement)

_READ = ("answers_", "judgements_", "attribution_", "examples_")


@dataclass(frozen=True, slots=True)
class PastRun:
    """Finished run, its models named ``A:base`` where its label is ``A``.

    Attributes:
        models: What stands behind each name, as far as the run's own files tell.
        recipes: By judge, the identity knobs of each node of its verdicts, and the recipe of the
            example replies they were given with. Recipe keys alone would not do: they hash the
            node's name too, and that names the model which was judged.
    """

    label: str
    name: str
    root: str
    models: Mapping[str, str]
    answers: Sequence[Answer]
    judgements: Sequence[Judgement]
    attribution: Sequence[Attribution]
    recipes: Mapping[str, Sequence[Mapping[str, object]]]


class _Model(BaseModel):
    model: str


class _Evaluation(BaseModel):
    models: tuple[EvaluatedModel, ...] = ()


class _Models(BaseModel):
    """Part of a run's ``config.yaml`` that is read."""

    models: dict[str, _Model] = {}
    evaluation: _Evaluation | None = None

    def describe(self, name: str, trained: str) -> str:
        """Say what stands behind a name of the run's rows; ``trained`` is the run's own model."""
        asked = self.evaluation.models if self.evaluation is not None else ()
        one = next((item for item in asked if item.name == name), EvaluatedModel(role=name))
        model = self.models[one.role].model if one.role in self.models else trained
        return model if one.prompt is None else f"{model} under {one.prompt}"


def read_run(label: str, given: str, root: str | None) -> PastRun:
    """Read a run, given as ``<root>/runs/<name>``, local or on S3, or as a name below ``root``.

    Raises :class:`ConfigError` when there is no such run, or rows of it are gone.
    """
    where = f"RUN_{label} {given}"
    storage, name = find_run(where, given, root)
    summary = _read_summary(storage, name, where)
    manifests = {
        node: _read_node(storage, where, node, path)
        for node, path in summary.manifests.items()
        if node.startswith(_READ)
    }
    answers = _read_family(storage, manifests, "answers_", Answer)
    judgements = _read_family(storage, manifests, "judgements_", Judgement)
    attribution = _read_family(storage, manifests, "attribution_", Attribution)
    names = [
        *(row.model for row in _flatten(answers)),
        *(row.model for row in _flatten(judgements)),
        *(row.model for row in _flatten(attribution)),
    ]
    known = _read_models(storage, name)
    return PastRun(
        label=label,
        name=name,
        root=storage.root,
        models={
            f"{label}:{told}": known.describe(told, summary.model) for told in dict.fromkeys(names)
        },
        answers=_rename(label, _flatten(answers)),
        judgements=_rename(label, _flatten(judgements)),
        attribution=_rename(label, _flatten(attribution)),
        recipes=_list_recipes(manifests, judgements),
    )


def find_run(where: str, given: str, root: str | None) -> tuple[Storage, str]:
    """Return the store and the name of a run, given by its folder, or by name below ``root``.

    ``where`` names the argument in the message of the :class:`ConfigError` raised otherwise.
    """
    text = given.rstrip("/").removesuffix("/summary.json").removesuffix("/report.html")
    if "/" not in text and root is not None:
        return Storage(root), text
    if "/" not in text and not Path(text).is_dir():
        what = "is a name, and no store is given to look in"
        raise ConfigError(Problem(where, what, "give <root>/runs/<name>, a CONFIG, or --root"))
    address = text if is_remote(text) else str(Path(text).absolute())
    parent, _, name = address.rpartition("/")
    store, _, folder = parent.rpartition("/")
    if folder != RUNS:
        what = "is not the folder of a run"
        raise ConfigError(Problem(where, what, "give <root>/runs/<name>, or a name and --root"))
    return Storage(store or "/"), name


def _read_summary(storage: Storage, name: str, where: str) -> RunSummary:
    try:
        return read_summary(storage, name)
    except FileNotFoundError as error:
        found = sorted({path.split("/")[1] for path in storage.walk(RUNS, "/summary.json")})
        todo = f"runs there: {', '.join(found)}" if found else "run it with `opencharacter run`"
        raise ConfigError(Problem(where, f"no run {name} in {storage.root}", todo)) from error
    except ValidationError as error:
        what = f"its summary.json cannot be read: {error}"
        raise ConfigError(Problem(where, what, "run it again")) from error


def _read_node(storage: Storage, where: str, node: str, path: str) -> Manifest:
    try:
        return read_manifest(storage, path)
    except FileNotFoundError as error:
        what = f"its node {node} is gone: no {storage.url(path)}"
        raise ConfigError(Problem(where, what, "run it again")) from error


def _read_models(storage: Storage, name: str) -> _Models:
    """Return the models that a run was configured with; none if its file cannot be read."""
    try:
        data = yaml.safe_load(storage.read_bytes(f"{RUNS}/{name}/config.yaml"))
        return _Models.model_validate(data)
    except (FileNotFoundError, ValidationError, yaml.YAMLError):
        return _Models()


def _read_family(
    storage: Storage, manifests: Mapping[str, Manifest], family: str, record: type[R]
) -> dict[str, list[R]]:
    return {
        node: read_accepted(storage, refer_to(manifest), record)
        for node, manifest in manifests.items()
        if node.startswith(family)
    }


def _flatten(nodes: Mapping[str, Sequence[R]]) -> list[R]:
    return [row for rows in nodes.values() for row in rows]


def _rename(label: str, rows: Sequence[R]) -> list[R]:
    return [replace(row, model=f"{label}:{row.model}") for row in rows]


def _list_recipes(
    manifests: Mapping[str, Manifest], judgements: Mapping[str, Sequence[Judgement]]
) -> dict[str, list[Mapping[str, object]]]:
    recipes: dict[str, list[Mapping[str, object]]] = {}
    for node, rows in judgements.items():
        if not rows:
            continue
        recipe: dict[str, object] = dict(manifests[node].identity)
        for name, fingerprint in manifests[node].upstream.items():
            if name.startswith("examples_"):
                shown = manifests.get(name)
                recipe["score examples"] = shown.recipe if shown else fingerprint
        recipes.setdefault(rows[0].judge, []).append(recipe)
    return recipes

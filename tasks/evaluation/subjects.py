"""Finds who is asked about, with their profiles, and the model that is asked."""

from __future__ import annotations

import polars as pl

from infra.context import RunContext
from infra.engines.config import ModelConfig
from infra.store.fingerprints import hash_parts
from infra.store.manifests import NodeRef, read_manifest
from infra.store.reading import read_accepted, read_accepted_frame
from infra.store.storage import Storage
from tasks.evaluation.config import TUNED, QuestionConfig
from tasks.records import Character


def choose_subjects(
    storage: Storage, config: QuestionConfig, examples: NodeRef, characters: NodeRef
) -> pl.DataFrame:
    """Return the personas that questions are written for: columns ``key`` and ``persona``.

    With ``unseen`` those whose characters were held out of training, the validation split's. Of
    more than ``personas`` the ones with the smallest hash are taken, so that a larger number only
    adds.
    """
    cast = read_accepted_frame(storage, characters).select(
        pl.col("persona_key").alias("key"), "persona", pl.col("key").alias("character_key")
    )
    if config.unseen:
        rows = read_accepted_frame(storage, examples)
        held_out = rows.filter(pl.col("split") == "validation").select("character_key").unique()
        cast = cast.join(held_out, on="character_key", how="semi")
    found = cast.select("key", "persona").unique("key").sort("key")
    ranked = sorted(
        found["key"].to_list(), key=lambda key: (hash_parts("subject", str(config.seed), key), key)
    )
    chosen = ranked[: config.personas]
    return found.filter(pl.col("key").is_in(chosen))


def find_profiles(storage: Storage, characters: NodeRef | None) -> dict[str, str]:
    """Return profiles by persona; none without characters."""
    if characters is None:
        return {}
    return {
        item.persona_key: item.profile for item in read_accepted(storage, characters, Character)
    }


def open_model(
    context: RunContext, role: str, training: NodeRef | None, like: str | None
) -> ModelConfig:
    """Return a role's configuration; the tuned model is made known to the context if it is not.

    It is run as ``like`` is, the role it was trained from, which has the same shape.
    """
    if role == TUNED and training is not None and like is not None:
        export = str(read_manifest(context.storage, training.manifest).facts["export"])
        context.add_model(TUNED, context.models[like].run_export(context.storage.url(export)))
    return context.models[role]

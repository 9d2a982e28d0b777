"""Declares the knobs of publishing."""

from __future__ import annotations

import re

from pydantic import field_validator, model_validator

from infra.knobs import Knobs, execution, identity, selection

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")


class PublishConfig(Knobs):
    """Knobs of publishing: what goes to which repositories of a hub; off unless switched on."""

    enabled: bool = execution(False, description="Push at the end of a run.")
    dataset: str | None = identity(
        None, description="Repository of the data set, namespace/name; null for none."
    )
    model: str | None = identity(
        None, description="Repository of the tuned model, namespace/name; null for none."
    )
    endpoint: str | None = identity(
        None,
        pattern=r"^https?://\S+$",
        description="Address of the hub; null for HF_ENDPOINT, or else the public one.",
    )
    private: bool = execution(
        True,
        description="Make missing repositories private, and push into no repository that is "
        "public; what is there keeps its visibility.",
    )
    token: str = execution(
        "env:HF_TOKEN",
        description="Where the token is: env:NAME or prefect:secret-block; never the token itself.",
    )
    dry_run: bool = selection(
        False, description="Only write down what would be pushed; asks the hub nothing."
    )
    timeout_s: float = execution(
        60.0, gt=0, description="How long the hub may be silent in one request, in seconds."
    )

    @field_validator("dataset", "model")
    @classmethod
    def _check_repository(cls, name: str | None) -> str | None:
        if name is None:
            return None
        ends = any(part[-1:] in "-." for part in name.split("/"))
        if not _REPOSITORY.fullmatch(name) or ends or "--" in name or ".." in name:
            raise ValueError(
                "a repository is namespace/name: letters, digits, and single - . or _ inside"
            )
        return name

    @model_validator(mode="after")
    def _check_targets(self) -> PublishConfig:
        if self.enabled and self.dataset is None and self.model is None:
            raise ValueError("publishing needs a repository: set dataset, model, or both")
        if not self.token.startswith(("env:", "prefect:")):
            raise ValueError("token names where the token is (env:NAME or prefect:block)")
        return self

"""Renders the data set card: Hugging Face front matter, counts, licences, rejections, examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infra.errors import ConfigError, Problem
from infra.text.markdown import escape_markdown
from tasks.export.rows import DialogueRow

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_BEYOND = "10M<n<100M"


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Source of rows; the licence is a Hugging Face id, ``None`` if unknown."""

    name: str
    role: str
    rows: int
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """Name of a prompt file and the hash of its content."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Count:
    """Number with its name."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What a stage took, kept and left out, with the reasons."""

    name: str
    planned: int
    accepted: int
    reasons: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the run knows of how the rows were made; the rows themselves do not say it."""

    run: str
    teachers: tuple[str, ...]
    demo_teacher: bool
    sources: tuple[SourceFacts, ...]
    prompts: tuple[PromptFacts, ...]
    stages: tuple[StageFacts, ...]
    languages: tuple[str, ...] = ("en",)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One split of one configuration; ``load_dataset`` opens the first of its files."""

    config: str
    split: str
    rows: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything the card says."""

    name: str
    provenance: Provenance
    scope: Literal["curated", "all"]
    tables: tuple[TableFacts, ...]
    characters: int
    dialogues: int
    strategies: tuple[Count, ...]
    characters_trained: int
    characters_held_out: int
    examples: tuple[DialogueRow, ...]

    @property
    def dialogue_rows(self) -> int:
        """Return how many answers the data set holds."""
        return sum(table.rows for table in self.tables if table.config == "dialogues")


class _Trusted(str):
    """Text that is markup on purpose."""

    __slots__ = ()


def render_card(facts: CardFacts, template: str) -> str:
    """Fill the card's template; whatever it prints is escaped, so nothing can be forgotten."""
    provenance = facts.provenance
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_escape, keep_trailing_newline=True
    )
    values = {
        "front_matter": _Trusted(_render_front_matter(facts)),
        **{
            name: getattr(facts, name)
            for name in (
                "name", "scope", "tables", "characters", "dialogues", "dialogue_rows",
                "strategies", "characters_trained", "characters_held_out",
            )
        },
        "has_sft": any(table.config == "sft" for table in facts.tables),
        "examples": [asdict(example) for example in facts.examples],
        "noncommercial": any("-nc" in (s.licence or "").lower() for s in provenance.sources),
        **{
            name: getattr(provenance, name)
            for name in ("run", "teachers", "demo_teacher", "sources", "prompts", "stages")
        },
    }  # fmt: skip
    try:
        return environment.from_string(template).render(values)
    except TemplateError as error:
        raise ConfigError(
            Problem("export.card", f"the card's template fails: {error}", "fix the template")
        ) from error


def _render_front_matter(facts: CardFacts) -> str:
    configs: dict[str, list[dict[str, str]]] = {}
    for table in facts.tables:
        entry = {"split": table.split, "path": table.files[0]}
        configs.setdefault(table.config, []).append(entry)
    licences = sorted({(s.licence or "unknown").lower() for s in facts.provenance.sources})
    matter = {
        "pretty_name": facts.name,
        "license": licences[0] if len(licences) == 1 else licences or "unknown",
        "language": list(facts.provenance.languages),
        "task_categories": ["text-generation"],
        "tags": ["role-play", "persona", "synthetic", "opencharacter"],
        "size_categories": [_name_size(facts.dialogue_rows)],
        "configs": [
            {
                "config_name": name,
                "data_files": entries,
                **({"default": True} if name == "dialogues" else {}),
            }
            for name, entries in configs.items()
        ],
    }
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---"


def _name_size(rows: int) -> str:
    return next((name for limit, name in _SIZES if rows < limit), _BEYOND)


def _escape(value: object) -> object:
    if isinstance(value, _Trusted):
        return value
    return escape_markdown(str(value))

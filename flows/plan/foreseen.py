"""Foresees rows that are not made yet: as many, about as long, and under the keys they will have.

Parents that are not made yet are taken as accepted. Rows that are there are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import polars as pl

from infra.errors import ConfigError, Problem
from infra.nodes.node import JobNode, Node, RowNode
from infra.nodes.rows import Done
from infra.store.fingerprints import content_key
from infra.store.manifests import Manifest, refer_to
from infra.store.reading import read_accepted
from infra.store.schema import to_table
from infra.store.storage import Storage
from tasks.characters.nodes import TakenCharacters
from tasks.characters.sources import Cast, take_characters
from tasks.curation.nodes import Curation
from tasks.dialogues.nodes import TakenDialogues
from tasks.dialogues.sources import Plays, take_dialogues
from tasks.evaluation.nodes import Answers
from tasks.evaluation.questions.nodes import Questions, QuestionSettings
from tasks.evaluation.questions.sets import Sources, collect_questions
from tasks.evaluation.questions.writing import ChosenSettings
from tasks.evaluation.subjects import choose_subjects
from tasks.instructions.nodes import Instructions
from tasks.instructions.selection import select_instructions
from tasks.personas.nodes import Personas
from tasks.personas.selection import select_personas
from tasks.personas.sources import read_persona_rows
from tasks.records import (
    TASKS,
    Answer,
    Character,
    EvalQuestion,
    Example,
    Instruction,
    Persona,
    ScoreExamples,
    Turn,
)

R = TypeVar("R")

_PROFILE_WORDS = 80
"""Of each of the three long fields: about the 350 tokens that the paper's profiles have."""
_QUESTION_WORDS = 30
_SETTING_WORDS = 3
_WORDS_A_TOKEN = 0.75
_FILLED = 0.5
"""Share of its token budget that an answer takes."""
_FILLER = "and the old keeper of the house by the river said that it would be fine"


class ForeseenRows:
    """Reader of nodes' rows as a run will find them, those of one run."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rows: dict[str, Sequence[Any]] = {}
        self._taken: dict[str, Cast | Plays] = {}
        self._found: dict[str, Manifest | None] = {}
        self.notes: tuple[str, ...] = ()
        """What of the questions' sources is not read, once they are."""

    def read(self, node: Done, record: type[R]) -> list[R]:
        """Return a node's rows as records."""
        return cast(list[R], list(self._list(cast(Node, node))))

    def frame(self, node: Done) -> pl.DataFrame:
        """Return a node's rows as a frame."""
        rows, record = self._list(cast(Node, node)), cast(Node, node).record
        return cast(pl.DataFrame, pl.from_arrow(to_table(record, rows)))

    def frames(self, nodes: Sequence[Done], columns: Sequence[str] = ()) -> pl.DataFrame:
        """Return the rows of several nodes of one record."""
        found = pl.concat([self.frame(node) for node in nodes])
        return found.select(columns) if columns else found

    def find(self, node: Node) -> Manifest | None:
        """Return the manifest of a node that is done; looked up once for the whole plan."""
        if node.name not in self._found:
            self._found[node.name] = node.find()
        return self._found[node.name]

    def is_certain(self, node: Node) -> bool:
        """Tell whether a node's rows are known before it is made, but for what is rejected.

        What curation keeps is not, nor what questions a model will write.
        """
        if isinstance(node, JobNode) or self.find(node) is not None:
            return True
        if isinstance(node, Curation):
            return False
        if isinstance(node, Questions) and node.config.suite != "personagym":
            return False
        return all(self.is_certain(one) for one in node.upstream())

    def take_cast(self, node: TakenCharacters) -> Cast:
        """Return the characters that the run will take from those given."""
        if node.name not in self._taken:
            people = self.read(node.personas, Persona)
            self._taken[node.name] = take_characters(node.source, people, node.spec.recipe)
        return cast(Cast, self._taken[node.name])

    def take_plays(self, node: TakenDialogues) -> Plays:
        """Return the dialogues that the run will take from those given."""
        if node.name not in self._taken:
            cast_ = self.read(node.characters, Character)
            self._taken[node.name] = take_dialogues(node.source, cast_, node.spec.recipe)
        return cast(Plays, self._taken[node.name])

    def _list(self, node: Node) -> Sequence[Any]:
        if node.name not in self._rows:
            found = self.find(node)
            self._rows[node.name] = (
                self._foresee(node)
                if found is None
                else read_accepted(self._storage, refer_to(found), node.record)
            )
        return self._rows[node.name]

    def _foresee(self, node: Node) -> Sequence[Any]:
        match node:
            case Personas():
                return _select_personas(node)
            case Instructions():
                chosen = select_instructions(node.config)
                self.notes = tuple(chosen.notes)
                return chosen.accepted
            case TakenCharacters():
                return self.take_cast(node).accepted
            case TakenDialogues():
                return self.take_plays(node).accepted
            case Curation():
                return self._foresee_examples(node)
            case Questions():
                return self._foresee_questions(node)
            case RowNode():
                pretend = _choose_pretence(node)
                return [pretend(row) for row in node.plan(self).iter_rows(named=True)]
        raise TypeError(f"nobody reads rows of {node.name} before they are made")

    def _foresee_examples(self, node: Curation) -> list[Example]:
        """Return one example a character, as many of them held out as will be."""
        cast_ = self.read(node.characters, Character)
        share = node.config.validation_share
        least = node.config.min_validation_characters if share else 0
        held_out = min(max(round(len(cast_) * share), least), len(cast_))
        return [
            Example(one.key, "", one.key, "validation" if n < held_out else "train", True, 0, ())
            for n, one in enumerate(sorted(cast_, key=lambda one: one.key))
        ]

    def _foresee_questions(self, node: Questions) -> Sequence[EvalQuestion]:
        config = node.config
        if config.suite == "personagym":
            return collect_questions(config, Sources()).questions
        if isinstance(node.texts, RowNode):
            planned = node.texts.plan(self).select("key", "persona_key", "persona", "task").rows()
            rows = [row for row in planned for _ in range(config.writing.count)]
        else:
            assert node.examples is not None and node.characters is not None
            unseen = config.model_copy(update={"unseen": True})
            people = choose_subjects(unseen, self.frame(node.examples), self.frame(node.characters))
            rows = [
                (key, key, persona, TASKS[n % len(TASKS)])
                for key, persona in people.select("key", "persona").rows()
                for n in range(config.per_persona)
            ]
        text = pretend(_QUESTION_WORDS)
        return [
            EvalQuestion(
                content_key("question", key, str(n)), config.suite, who, persona, task, text, ""
            )
            for n, (key, who, persona, task) in enumerate(rows)
        ]


def pretend(words: int) -> str:
    """Return so many words that say nothing."""
    filler = _FILLER.split()
    return " ".join(filler[n % len(filler)] for n in range(words))


def _select_personas(node: Personas) -> Sequence[Persona]:
    chosen = select_personas(read_persona_rows(node.config), node.config)
    if not chosen.accepted:
        reasons = Counter(row.reason for row in chosen.rejected)
        told = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common())
        first = chosen.rejected[0]
        what = f"none of its rows is a persona: {told}; {first.source}: {first.detail[:120]}"
        where = f"personas.source ({node.config.source})"
        raise ConfigError(Problem(where, what, "fix it, or the knobs of `personas`"))
    return chosen.accepted


def _choose_pretence(node: RowNode) -> Callable[[dict[str, Any]], Any]:
    """Return what makes a row, about as long as others, of a planned one."""
    said = pretend(max(1, int(node.config.max_new_tokens * _FILLED * _WORDS_A_TOKEN)))
    profile = pretend(_PROFILE_WORDS)
    asked = (Turn("user", pretend(_QUESTION_WORDS)),)
    pretences: dict[type[Any], Callable[[dict[str, Any]], Any]] = {
        Character: lambda row: Character(
            key=row["key"],
            persona_key=row["persona_key"],
            persona=row["persona"],
            name="Maria Olsen",
            age="44",
            gender="Female",
            race="White",
            birth_place="Oslo, Norway",
            appearance=profile,
            general_experience=profile,
            personality=profile,
        ),
        Instruction: lambda row: Instruction(
            row["key"], "ph-instruct", row["persona_key"], 0, asked
        ),
        ChosenSettings: lambda row: ChosenSettings(
            row["key"], row["persona_key"], row["persona"], _pretend_settings(node)
        ),
        Answer: lambda row: Answer(
            row["key"], row["question_key"], row["persona_key"], row["persona"], row["task"],
            cast(Answers, node).subject.role, row["question"], said, False,
        ),
        ScoreExamples: lambda row: ScoreExamples(
            row["key"], row["question_key"], row["task"], node.role, (said[: len(said) // 5],) * 5
        ),
    }  # fmt: skip
    return pretences[node.record]


def _pretend_settings(node: RowNode) -> tuple[str, ...]:
    count = cast(QuestionSettings, node).config.count
    return tuple(f"{n} {pretend(_SETTING_WORDS)}" for n in range(count))

"""Holds what was found out about models: what measures are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from infra.text.batches.screening import TextBatch
from tasks.measures.statistics import Score
from tasks.records import Ability, Answer, Attribution, Judgement


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was found out about models.

    Attributes:
        models: Names, the one that the others are compared with first.
        judges: Names of the judges.
        judgements: All judges' verdicts on all models' answers.
        answers: Accepted answers by model.
        attributions: Attributed held-out answers by model.
        abilities: General abilities of all models.
        panel: The judges whose mean is the panel's; all of them if left out.
    """

    models: tuple[str, ...]
    judges: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    answers: Mapping[str, Sequence[Answer]]
    attributions: Mapping[str, Sequence[Attribution]]
    abilities: tuple[Ability, ...]
    panel: tuple[str, ...] | None = None
    _known: dict[str, tuple[Series, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _looks: dict[str, TextBatch] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def look_at(self, model: str) -> TextBatch:
        """Return what is seen of all answers of a model at once; they are looked at once."""
        if model not in self._looks:
            self._looks[model] = TextBatch([row.answer for row in self.answers[model]])
        return self._looks[model]

    def recall(
        self, measure: str, find: Callable[[Evidence], Iterable[Series]]
    ) -> tuple[Series, ...]:
        """Return what a measure found: to look at every answer takes long, so it does so once."""
        if measure not in self._known:
            self._known[measure] = tuple(find(self))
        return self._known[measure]

    def list_answers(self) -> Iterator[tuple[str, Sequence[Answer]]]:
        """Yield the models that answered, in their order, with their answers."""
        yield from ((name, self.answers[name]) for name in self.models if name in self.answers)

    def list_words(self) -> dict[str, str]:
        """Return the words of each answer, folded, a blank between two, by its key."""
        return {
            row.key: words
            for model, rows in self.list_answers()
            for row, words in zip(rows, self.look_at(model).folded, strict=True)
        }

    def list_personas(self) -> dict[str, str]:
        """Return whose answer each answer is: keys of personas by keys of answers."""
        found = {row.answer_key: row.persona_key for row in self.judgements}
        return found | {row.key: row.persona_key for _, rows in self.list_answers() for row in rows}


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one model, row by row, so that models can be paired on it.

    ``judge`` and ``task`` are empty where there is none; ``chance`` is what guessing would give.
    """

    name: str
    judge: str
    task: str
    model: str
    scores: tuple[Score, ...]
    chance: float | None = None

"""Renders a sample of every stage's prompts, with the code that will ask, to count their tokens.

The makers of the stages run against an engine that only writes down what it is asked. What is not
made yet (profiles, questions, answers) is stood in for by text of the usual length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flows.recipe.evaluation_graph import EvaluationGraph
from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from infra.generation.asking import AskOptions, RowSession
from infra.generation.stage_worker import RowMaker
from infra.paths import require_path
from infra.protocol import Completion, Message, Request
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key
from infra.store.schema import from_plain
from tasks.characters.writing import CharacterInput, CharacterWriter
from tasks.dialogues.config import RewriteConfig, StrategyConfig
from tasks.dialogues.generation import DialogueInput, GeneratePlayer
from tasks.dialogues.planning import plan_dialogues
from tasks.dialogues.rewriting import RewritePlayer
from tasks.evaluation.answering import Answerer
from tasks.evaluation.config import TUNED, EvaluationConfig, JudgeConfig
from tasks.evaluation.judging.calibration import plan_calibration, read_labelled
from tasks.evaluation.judging.judging import ExampleWriter, Judge
from tasks.evaluation.judging.rubrics import TASKS
from tasks.evaluation.naming import load_judging, read_prompt
from tasks.evaluation.planning import (
    plan_answers,
    plan_examples,
    plan_judgements,
    plan_question_rows,
)
from tasks.evaluation.questions.writing import (
    ChosenSettings,
    QuestionWriter,
    SettingsChooser,
    SettingsInput,
    load_settings,
)
from tasks.instructions.guessing import GuessInput, InstructionGuesser
from tasks.records import (
    Answer,
    Character,
    Dialogue,
    EvalQuestion,
    Instruction,
    Persona,
    ScoreExamples,
    Turn,
)

SAMPLED = 64
_PROFILE_WORDS = 80
"""Of each of the three long fields: about the 350 tokens that the paper's profiles have."""
_QUESTION_WORDS = 30
_WORDS_A_TOKEN = 0.75
_FILLER = "and the old keeper of the house by the river said that it would be fine"

Prompt = tuple[Message, ...]


@dataclass(frozen=True)
class Asking:
    """How a stage asks: which role, with what room for an answer, and a sample of prompts."""

    role: str
    max_new_tokens: int
    gather: Callable[[], tuple[RowMaker[Any], Sequence[Any]]]

    def render(self) -> list[Prompt]:
        """Return the first prompt of up to :data:`SAMPLED` rows."""
        maker, rows = self.gather()
        return asyncio.run(_record(maker, rows[:SAMPLED]))


@dataclass(frozen=True)
class Known:
    """Rows there are to sample from; what is not made yet is empty."""

    personas: Sequence[Persona]
    instructions: Sequence[Instruction]
    guesses: Sequence[Instruction] = ()
    cast: Sequence[Character] = ()
    dialogues: Sequence[Dialogue] = ()
    questions: Sequence[EvalQuestion] = ()


@dataclass
class _Recorder:
    """Engine that keeps what it is asked, and has nothing to say."""

    asked: list[Request] = field(default_factory=list)

    async def generate(self, request: Request) -> Completion:
        self.asked.append(request)
        return Completion("", "stop", 0, 0)

    async def close(self) -> None:
        return


def list_asking(settings: Settings, graph: Graph, known: Known) -> dict[str, Asking]:
    """Return how every row node of the run asks, by node name; nothing is rendered yet."""
    stages: dict[str, Asking] = {}
    if graph.characters.by_rows:
        stages["characters"] = Asking(
            settings.characters.model,
            settings.characters.max_new_tokens,
            partial(_sample_characters, settings, known),
        )
    if graph.guesses is not None:
        guessing = settings.instructions.synthesis
        stages["guesses"] = Asking(
            guessing.model, guessing.max_new_tokens, partial(_sample_guesses, settings, known)
        )
    for strategy, node in graph.dialogues.items():
        config = (
            settings.dialogues.generate if strategy == "generate" else settings.dialogues.rewrite
        )
        if config is not None and node.by_rows:
            gather = partial(_sample_dialogues, settings, node.recipe, config, known)
            stages[node.stage] = Asking(config.model, config.max_new_tokens, gather)
    if settings.evaluation is not None and graph.evaluation is not None:
        stages |= _Evaluation(settings.evaluation, graph.evaluation, known).list_asking()
    return stages


def sample_dialogues(known: Known) -> list[Prompt]:
    """Return up to :data:`SAMPLED` of the known dialogues, about as they are trained on."""
    people = {one.persona_key: one for one in list_people(known.personas, known.cast)}
    step = max(1, len(known.dialogues) // SAMPLED)
    prompts = []
    for item in known.dialogues[::step][:SAMPLED]:
        actor = people[item.persona_key]
        system = Message("system", f"{actor.persona}\n{actor.profile}")
        prompts.append((system, *(Message(turn.role, turn.content) for turn in item.turns)))
    return prompts


def list_people(personas: Sequence[Persona], cast: Sequence[Character]) -> list[Character]:
    """Return the cast; while there is none, a character as long as others for every persona."""
    return list(cast) or [_pretend_character(row) for row in personas]


def pretend(words: int) -> str:
    """Return so many words that say nothing."""
    filler = _FILLER.split()
    return " ".join(filler[n % len(filler)] for n in range(words))


async def _record(maker: RowMaker[Any], rows: Sequence[Any]) -> list[Prompt]:
    prompts = []
    for row in rows:
        engine = _Recorder()
        options = AskOptions(temperature=0.0, top_p=1.0, max_new_tokens=1, max_attempts=1, seed=0)
        session = RowSession(key=row.key, engine=engine, encoder=None, options=options)
        await maker.make(row.key, row, session)
        if engine.asked:
            prompts.append(engine.asked[0].messages)
    return prompts


def _sample_characters(
    settings: Settings, known: Known
) -> tuple[RowMaker[Any], Sequence[CharacterInput]]:
    config = settings.characters
    prompt = PromptTemplate.load(require_path(config.prompt, "characters.prompt"))
    rows = [CharacterInput(row.key, row.key, row.persona) for row in known.personas[:SAMPLED]]
    return CharacterWriter(prompt, config.structured, None), rows


def _sample_guesses(settings: Settings, known: Known) -> tuple[RowMaker[Any], Sequence[GuessInput]]:
    config = settings.instructions.synthesis
    prompt = PromptTemplate.load(require_path(config.prompt, "instructions.synthesis.prompt"))
    rows = [GuessInput(row.key, row.key, row.persona) for row in known.personas[:SAMPLED]]
    return InstructionGuesser(prompt, None), rows


def _sample_dialogues(
    settings: Settings, recipe: str, config: StrategyConfig, known: Known
) -> tuple[RowMaker[Any], Sequence[DialogueInput]]:
    prompt = PromptTemplate.load(require_path(config.prompt, "dialogues"))
    rewrites = isinstance(config, RewriteConfig)
    questions = [item for item in known.instructions if item.answered or not rewrites]
    if not rewrites:
        questions += known.guesses or _pretend_guesses(settings, known)
    cast = list_people(known.personas[:SAMPLED], known.cast[:SAMPLED])
    step = max(1, len(questions) // SAMPLED)
    # Every so-many-th, for sources come one after another and differ in length.
    chosen = questions[::step][:SAMPLED]
    rows = plan_dialogues(recipe, cast, chosen, per_question=1, seed=0) if cast and chosen else None
    inputs = (
        [from_plain(DialogueInput, row) for row in rows.iter_rows(named=True)]
        if rows is not None
        else []
    )
    if isinstance(config, RewriteConfig):
        return RewritePlayer(prompt, "", config.structured, config.max_turn_chars), inputs
    return GeneratePlayer(prompt, ""), inputs


def _pretend_guesses(settings: Settings, known: Known) -> list[Instruction]:
    count = min(settings.instructions.synthesis.count, len(known.personas))
    turns = (Turn("user", pretend(_QUESTION_WORDS)),)
    return [
        Instruction(content_key("guess", row.key), "ph-instruct", row.key, 0, turns)
        for row in known.personas[:count]
    ]


def _pretend_character(row: Persona) -> Character:
    text = pretend(_PROFILE_WORDS)
    return Character(
        key=content_key("character", row.key),
        persona_key=row.key,
        persona=row.persona,
        name="Maria Olsen",
        age="44",
        gender="Female",
        race="White",
        birth_place="Oslo, Norway",
        appearance=text,
        general_experience=text,
        personality=text,
    )


@dataclass(frozen=True)
class _Evaluation:
    """How the nodes of evaluation ask."""

    config: EvaluationConfig
    graph: EvaluationGraph
    known: Known

    def list_asking(self) -> dict[str, Asking]:
        asked, stages = self.config.questions, dict[str, Asking]()
        if self.graph.settings is not None and asked.settings is not None:
            chosen = asked.settings
            stages[self.graph.settings.stage] = Asking(
                chosen.model, chosen.max_new_tokens, self._sample_settings
            )
        if self.graph.texts is not None:
            writing = asked.writing
            stages[self.graph.texts.stage] = Asking(
                writing.model, writing.max_new_tokens, self._sample_texts
            )
        for role, node in self.graph.answers.items():
            stages[node.stage] = Asking(
                role, self.config.answers.max_new_tokens, partial(self._sample_answers, role)
            )
        for judge in self.config.judges:
            stages |= self._list_judging(judge)
        return stages

    def _list_judging(self, judge: JudgeConfig) -> Mapping[str, Asking]:
        role, stages = judge.model, dict[str, Asking]()
        if role in self.graph.examples and judge.examples is not None:
            stages[self.graph.examples[role].stage] = Asking(
                role, judge.examples.max_new_tokens, partial(self._sample_examples, judge)
            )
        if role in self.graph.calibrations:
            stages[self.graph.calibrations[role].stage] = Asking(
                role, judge.max_new_tokens, partial(self._sample_calibration, judge)
            )
        for (name, _), node in self.graph.judgements.items():
            if name == role:
                stages[node.stage] = Asking(
                    role, judge.max_new_tokens, partial(self._sample_judgements, judge)
                )
        return stages

    def _sample_settings(self) -> tuple[RowMaker[Any], Sequence[SettingsInput]]:
        chosen = self.config.questions.settings
        assert chosen is not None
        listed = load_settings(require_path(chosen.settings, "evaluation.questions.settings"))
        prompt = read_prompt(chosen.prompt)
        maker = SettingsChooser(prompt, listed, chosen.count, chosen.structured)
        people = self.known.personas[:SAMPLED]
        return maker, [SettingsInput(row.key, row.key, row.persona) for row in people]

    def _sample_texts(self) -> tuple[RowMaker[Any], Sequence[Any]]:
        asked = self.config.questions
        writing = asked.writing
        count = asked.settings.count if asked.settings is not None else 0
        settings = tuple(f"{n} {pretend(3)}" for n in range(count))
        chosen = [
            ChosenSettings(row.key, row.key, row.persona, settings)
            for row in self.known.personas[: SAMPLED // len(TASKS) + 1]
        ]
        maker = QuestionWriter(
            prompt=read_prompt(writing.prompt),
            count=writing.count,
            rounds=1,
            structured=writing.structured and writing.format == "json",
            language=None,
            as_lines=writing.format == "lines",
            must_ask=writing.must_ask,
        )
        return maker, _revive(maker, plan_question_rows("", chosen))

    def _sample_answers(self, role: str) -> tuple[RowMaker[Any], Sequence[Any]]:
        maker = Answerer(read_prompt(self.config.answers.prompt), role)
        shown = self._profiles() if self.config.answers.with_profile else {}
        return maker, _revive(maker, plan_answers("", self._questions(), shown))

    def _sample_examples(self, judge: JudgeConfig) -> tuple[RowMaker[Any], Sequence[Any]]:
        assert judge.examples is not None
        config = judge.examples
        prompts = load_judging(judge, self.config.questions)
        maker = ExampleWriter(
            prompts, judge.model, config.structured, config.one_by_one, config.max_chars
        )
        shown = self._profiles() if judge.with_profile else {}
        return maker, _revive(maker, plan_examples("", self._questions(), shown))

    def _sample_calibration(self, judge: JudgeConfig) -> tuple[RowMaker[Any], Sequence[Any]]:
        maker = self._make_judge(judge)
        return maker, _revive(maker, plan_calibration("", read_labelled(str(judge.calibration))))

    def _sample_judgements(self, judge: JudgeConfig) -> tuple[RowMaker[Any], Sequence[Any]]:
        questions, maker = self._questions(), self._make_judge(judge)
        said = pretend(self._count_words(self.config.answers.max_new_tokens))
        answers = [
            Answer(row.key, row.key, row.persona_key, row.persona, row.task, TUNED, row.question,
                   said, False)
            for row in questions
        ]  # fmt: skip
        examples = []
        if judge.examples is not None:
            reply = pretend(self._count_words(judge.examples.max_new_tokens) // 5)
            examples = [
                ScoreExamples(row.key, row.key, row.task, judge.model, (reply,) * 5)
                for row in questions
            ]
        shown = self._profiles() if judge.with_profile else {}
        return maker, _revive(maker, plan_judgements("", answers, examples, shown))

    def _make_judge(self, judge: JudgeConfig) -> Judge:
        prompts = load_judging(judge, self.config.questions)
        return Judge(prompts, judge.model, judge.structured, judge.max_justification_chars)

    def _questions(self) -> list[EvalQuestion]:
        if self.known.questions:
            step = max(1, len(self.known.questions) // SAMPLED)
            return list(self.known.questions[::step][:SAMPLED])
        text = pretend(_QUESTION_WORDS)
        return [
            EvalQuestion(
                content_key("question", row.key), "generated", row.key, row.persona,
                TASKS[place % len(TASKS)], text, "",
            )
            for place, row in enumerate(self.known.personas[:SAMPLED])
        ]  # fmt: skip

    def _profiles(self) -> dict[str, str]:
        """Return profiles by persona: those there are, else pretended ones; none for PersonaGym."""
        if self.config.questions.suite == "personagym":
            return {}
        people = {row.key: _pretend_character(row) for row in self.known.personas[:SAMPLED]}
        people |= {row.persona_key: row for row in self.known.cast}
        return {key: row.profile for key, row in people.items()}

    def _count_words(self, max_new_tokens: int) -> int:
        return max(1, int(max_new_tokens * 0.5 * _WORDS_A_TOKEN))


def _revive(maker: RowMaker[Any], frame: Any) -> list[Any]:
    return [from_plain(maker.inputs, row) for row in frame.head(SAMPLED).iter_rows(named=True)]

"""Declares the knobs of curation."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from infra.knobs import Knobs, execution, group, identity, selection
from tasks.decontamination import MIN_WORDS, RUN_WORDS, SIMILARITY

AUTO = "auto"
"""Stands for what the run itself evaluates on, where a file of questions may be named."""

OtherNames = Literal["off", "introductions", "mentions"]


class DataTests(Knobs):
    """Bounds on dialogues as they were played, before any filter; null: not looked at.

    A run that misses one stops before it trains, whether or not its rows were made by an earlier
    run.
    """

    min_distinct_share: float | None = execution(
        None,
        ge=0,
        le=1,
        description="Least share of different answers, but for case and punctuation.",
    )
    max_truncated_share: float | None = execution(
        None, ge=0, le=1, description="Most dialogues whose last answer ran into the token limit."
    )
    min_language_share: float | None = execution(
        None,
        ge=0,
        le=1,
        description="Least share that is not confidently in another language than `language`.",
    )
    max_refusal_share: float | None = execution(
        None,
        ge=0,
        le=1,
        description="Most dialogues with an answer that opens by refusing to help (in English).",
    )

    def asks(self) -> bool:
        """Tell whether there is any bound."""
        return any(value is not None for value in self.knob_values("execution").values())


class CurationConfig(Knobs):
    """Knobs of curation: which dialogues become training examples, and what an example looks like.

    A filter is off when its switch is false or its threshold is null. The two files named here
    enter the node fingerprint by content (:func:`tasks.curation.inputs.digest_inputs`), so their
    paths are execution knobs: a checkout that moved makes nothing anew.
    """

    prompt: str = identity(
        "prompts/roleplay.j2",
        min_length=1,
        description="Template of the system prompt; its values are `persona` and `profile`.",
    )
    profile_dropout: float = identity(
        0.0,
        ge=0,
        le=1,
        description="Share of examples whose system prompt shows the persona without the profile.",
    )
    seed: int = identity(0, description="Seed of the split, of profile dropout and of MinHash.")

    drop_truncated: bool = selection(
        True, description="Reject dialogues whose last answer ran into the token limit."
    )
    max_turns: int | None = selection(
        None, ge=2, description="Reject dialogues of more turns, given ones included; null: any."
    )
    drop_control_tokens: bool = selection(
        True, description="Reject answers with marks of a chat template that cannot be trimmed."
    )
    drop_user_turns: bool = selection(
        True, description="Reject answers that go on for the user (`User: …`, `### Instruction`)."
    )
    drop_mere_directions: bool = selection(
        True, description="Reject answers of nothing but a stage direction (`*smiles*`)."
    )
    drop_placeholders: bool = selection(
        True, description="Reject answers with blanks to fill in (`[Name]`, `{{user}}`)."
    )
    drop_broken_text: bool = selection(
        True, description="Reject answers with wrongly decoded letters or rows of odd symbols."
    )
    drop_repetition: bool = selection(
        True, description="Reject answers that say the same again and again; verse may, a little."
    )
    drop_refusals: bool = selection(
        True, description="Reject dialogues with an answer that opens by refusing to help."
    )
    drop_ai_admissions: bool = selection(
        True, description="Reject answers that speak as a language model instead of a character."
    )
    drop_prompt_echoes: bool = selection(
        True, description="Reject answers that repeat the question, the profile or the prompt."
    )
    echo_words: int = selection(
        25, ge=8, description="Words in a row that an answer may not share with the profile."
    )
    source_copy_similarity: float | None = selection(
        0.9,
        gt=0,
        le=1,
        description="Reject rewritten answers this similar to the source answer (Jaccard of "
        "3-word shingles); null: off.",
    )
    other_names: OtherNames = selection(
        "introductions",
        description="Reject answers that speak under another character's name (introductions), "
        "or that mention another character's full name unasked (mentions).",
    )
    language: str | None = selection(
        "en",
        description="Reject answers confidently in another language (ISO 639-1), unless question "
        "or source answer is in that language too; null: off.",
    )
    toxic_words: str | None = execution(
        None, description="File of words or phrases, one a line, that no answer may hold."
    )

    drop_exact_duplicates: bool = selection(
        True, description="Reject answers equal to another answer but for case and punctuation."
    )
    near_duplicate_similarity: float | None = selection(
        0.85,
        gt=0,
        lt=1,
        description="Reject answers this similar to a kept one (Jaccard of shingles); null: off.",
    )
    duplicate_min_words: int = selection(
        5,
        ge=0,
        description="Answers of fewer words are duplicates only if the user turns are equal too.",
    )

    decontamination: str | None = execution(
        None,
        description="What to keep out of training: `auto` for the questions and personas that the "
        "run itself evaluates on (PersonaGym's checkout, what held-out characters are asked), "
        "PersonaGym's folder `questions/benchmark-v1`, or a JSON, JSONL or text file of questions; "
        "null: nothing, the report counts all the same.",
    )
    decontamination_words: int = selection(
        RUN_WORDS,
        ge=5,
        description="Words in a row that a user turn may not share with a question.",
    )
    decontamination_min_words: int = selection(
        MIN_WORDS,
        ge=3,
        description="Questions of at least this many words may not be contained whole either.",
    )
    decontamination_similarity: float = selection(
        SIMILARITY,
        gt=0,
        le=1,
        description="Reject user turns this similar to a question (Jaccard of word sets).",
    )

    validation_share: float = selection(
        0.05, ge=0, lt=1, description="Share of the characters held out for validation."
    )
    min_validation_characters: int = selection(
        1, ge=0, description="Least number of held-out characters, if the share is above 0."
    )
    min_yield: float = execution(
        0.0, ge=0, le=1, description="Least share of dialogues to accept, or the run stops."
    )
    data_tests: DataTests = group(
        DataTests, description="What dialogues must be like, or the run stops before it trains."
    )

    @model_validator(mode="after")
    def _language_is_known(self) -> CurationConfig:
        if self.data_tests.min_language_share is not None and self.language is None:
            raise ValueError(
                "data_tests.min_language_share needs a language: set curation.language"
            )
        return self

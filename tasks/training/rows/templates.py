"""Chooses the chat format a model is trained and served in: its templates and control tokens.

Each family has two files in ``configs/templates/training``. The training one encloses what the
model learns to write in ``{% generation %}`` marks: an answer and its end-of-turn token, nothing
else. The serving one is exported with the model. Both render the same text. Both trim contents:
an answer that began with white space would be tokenised together with the newline of its header,
with which the prompt ends at serving time.

A model of another family is trained in its own template: what it learns is found by rendering the
conversation up to each answer, and what is exported is that template.

Special tokens stand in the templates as text and not as ``bos_token``, so a base model, whose
tokenizer has no chat template and another end of text, is trained in the same format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import ConfigError, Problem, TemplateRefused
from infra.paths import require_path
from infra.protocol import Message
from infra.rendering.chat_roles import arrange, probe_roles
from infra.rendering.chat_template import derive_spans, strip_generation_marks
from infra.rendering.encoder import read_template

_KEY = "training.template"
_PADS = (
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_0|>",
    "<|endoftext|>",
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<unk>",
)
"""Tokens that are there to pad with, or are never written by any template of ours."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How one model's conversations are written.

    Attributes:
        name: That of a family, or ``own``.
        training_template: Chat template with ``{% generation %}`` marks; ``own`` may have none.
        serving_template: Chat template that renders the same text, for export.
        bos: Token that opens every conversation, or ``None`` (ChatML has none).
        stop_token: Token that ends every turn; the model learns to write it.
        stop_id: Its id.
        pad_token: Token that fills rows; never the stop token.
        pad_id: Its id.
    """

    name: str
    training_template: str
    serving_template: str
    bos: str | None
    stop_token: str
    stop_id: int
    pad_token: str
    pad_id: int


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    bos: str | None
    stop: str
    tokens: tuple[str, ...]
    tells: tuple[str, ...] = ()
    """Tokens that ``auto`` wants to see besides; what is named needs the others only."""


_FAMILIES = (
    _Family(
        "llama3",
        "<|begin_of_text|>",
        "<|eot_id|>",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    _Family("chatml", None, "<|im_end|>", ("<|im_start|>", "<|im_end|>")),
    _Family("gemma", "<bos>", "<end_of_turn>", ("<bos>", "<start_of_turn>", "<end_of_turn>")),
    _Family("mistral", "<s>", "</s>", ("<s>", "</s>"), ("[INST]", "[/INST]")),
)
_TALK = (
    Message("system", "Be the baker."),
    Message("user", "Who are you?"),
    Message("assistant", "The baker."),
    Message("user", "And then?"),
    Message("assistant", "I bake."),
)
OWN = "own"
"""The model's own chat template."""


def read_templates() -> list[str]:
    """Return the text of every template, for recipe keys: a changed one changes token rows."""
    return [
        _read_template(f"{family.name}.{kind}")
        for family in _FAMILIES
        for kind in ("training", "serving")
    ]


def choose_format(tokenizer: Any, name: str = "auto") -> ChatFormat:
    """Return the chat format of a name, or for ``auto`` the one whose tokens the tokenizer knows.

    ``tokenizer`` is one of transformers'. Raises :class:`ConfigError` when the name is unknown,
    when the tokenizer lacks the format's special tokens, when ``auto`` finds none or several
    that fit, and when no token is there to pad with: the vocabulary is never grown.
    """
    known = {str(token): int(index) for index, token in tokenizer.added_tokens_decoder.items()}
    family = _fit_family(tokenizer, known) if name == "auto" else _name_family(name, known)
    if family is None:
        return _take_own(tokenizer, known)
    pad = _choose_pad(tokenizer, known, family.tokens, family.stop)
    return ChatFormat(
        name=family.name,
        training_template=_read_template(f"{family.name}.training"),
        serving_template=_read_template(f"{family.name}.serving"),
        bos=family.bos,
        stop_token=family.stop,
        stop_id=known[family.stop],
        pad_token=pad,
        pad_id=int(tokenizer.convert_tokens_to_ids(pad)),
    )


def _take_own(tokenizer: Any, known: dict[str, int]) -> ChatFormat:
    """Return the format of the model's own template, if what it would learn can be told."""
    source = str(tokenizer.get_chat_template())
    serving = strip_generation_marks(source)
    try:
        stop = find_stop(tokenizer, known, serving)
        template = read_template(tokenizer, serving)
        arranged, _ = arrange(_TALK, probe_roles(template))
        derive_spans(template, arranged, stop)
    except TemplateRefused as error:
        raise ConfigError(
            Problem(
                _KEY,
                f"what a model would learn cannot be told in its own chat template: {error}",
                f"name a template that fits its tokens: {_list_names()}",
            )
        ) from error
    pad = _choose_pad(tokenizer, known, (stop,), stop)
    return ChatFormat(
        name=OWN,
        training_template=source,
        serving_template=serving,
        bos=str(tokenizer.bos_token) if tokenizer.bos_token else None,
        stop_token=stop,
        stop_id=known[stop],
        pad_token=pad,
        pad_id=int(tokenizer.convert_tokens_to_ids(pad)),
    )


def find_stop(tokenizer: Any, known: dict[str, int], source: str) -> str:
    """Return the special token that a template writes after an answer.

    Raises :class:`TemplateRefused` where there is none, which no model could learn to write.
    """
    said = "Qzyes"
    asked = (Message("user", "So?"), Message("assistant", said))
    rendered = read_template(tokenizer, source).render(asked, add_generation_prompt=False)
    _, found, rest = rendered.rpartition(said)
    rest = rest.lstrip()
    ends = sorted((token for token in known if token.strip()), key=len, reverse=True)
    stop = next((token for token in ends if found and rest.startswith(token)), None)
    if stop is None:
        raise TemplateRefused("it ends an answer with no special token")
    return stop


def _list_names() -> str:
    return " or ".join(family.name for family in _FAMILIES)


def _name_family(name: str, known: dict[str, int]) -> _Family | None:
    names = [family.name for family in _FAMILIES]
    if name == OWN:
        return None
    if name not in names:
        raise ConfigError(
            Problem(_KEY, f"no such template: {name}", f"choose auto or own or {_list_names()}")
        )
    family = _FAMILIES[names.index(name)]
    if missing := [token for token in family.tokens if token not in known]:
        raise ConfigError(
            Problem(
                _KEY,
                f"the model's tokenizer has no special tokens {', '.join(missing)}",
                "choose auto or the template of the model's own family",
            )
        )
    return family


def _fit_family(tokenizer: Any, known: dict[str, int]) -> _Family | None:
    """Return the one family that fits; ``None`` for a model with a template of its own."""
    fitting = [family for family in _FAMILIES if known.keys() >= {*family.tokens, *family.tells}]
    several = bool(fitting)
    if len(fitting) > 1:
        # Tuned models keep the tokens of the family they began in: what ends a turn decides.
        fitting = [family for family in fitting if family.stop == tokenizer.eos_token]
    if len(fitting) == 1:
        return fitting[0]
    if tokenizer.chat_template:
        return None
    wanted = "; ".join(
        f"{family.name} needs {', '.join((*family.tokens, *family.tells))}" for family in _FAMILIES
    )
    if several:
        what = "the model's tokenizer knows the special tokens of several, and ends with neither"
        raise ConfigError(Problem(_KEY, what, f"name one of them: {_KEY}={_FAMILIES[0].name}"))
    raise ConfigError(
        Problem(
            _KEY,
            f"the model's tokenizer knows the special tokens of no template ({wanted})",
            "take a model of one of these families, or add the tokens to its tokenizer and its"
            " embeddings",
        )
    )


def _choose_pad(tokenizer: Any, known: dict[str, int], written: Sequence[str], stop: str) -> str:
    """Return the tokenizer's pad token, or an existing token that no template writes."""
    own = tokenizer.pad_token
    if own is not None and own not in written:
        return str(own)
    for token in _PADS:
        if token in known and token not in written:
            return token
    fault = "has no pad token" if own is None else f"pads with {own}, which the template writes"
    raise ConfigError(
        Problem(
            "training.model",
            f"the model's tokenizer {fault}, and none of {', '.join(_PADS)} to take instead",
            'name a token that no text holds as "pad_token" in its tokenizer_config.json'
            f" (not {stop}); the vocabulary is not grown for it",
        )
    )


def _read_template(name: str) -> str:
    path = require_path(f"templates/training/{name}.jinja", _KEY)
    return path.read_text(encoding="utf-8").removesuffix("\n")

"""Measures how likely a model finds given answers, by plain forward passes.

A text is scored where the model would write it: the prompt is rendered by the model's own chat
template through the function that makes prompts for generation, then come the answer's tokens,
then the token that ends a turn. Training encodes the same ids (proved in
``tests/unit/evaluation/test_likelihood.py``).

Nothing here depends on the number of parameters: on a GPU the weights are bf16, on several they
are spread over all that are visible, on a CPU they are fp32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from infra.engines.cpu_threads import use_cores
from infra.errors import ConfigError, Problem
from infra.models.folders import fetch_model
from infra.protocol import Message
from infra.rendering.encoder import PromptEncoder, read_template

_PROBE = "Yes"


@dataclass(frozen=True, slots=True)
class AnswerIds:
    """A prompt and an answer to it as token ids; the answer begins at ``start``."""

    ids: tuple[int, ...]
    start: int

    @property
    def answer_tokens(self) -> int:
        """Return how many tokens are scored, the stop token among them."""
        return len(self.ids) - self.start


class AnswerEncoder:
    """Encoder of prompts and their answers into token ids with one model's tokenizer."""

    def __init__(self, tokenizer: Any, template: str | None = None, *, name: str = "") -> None:
        """Take a loaded tokenizer; ``template`` stands in for its own chat template.

        Raises :class:`ConfigError` where there is neither; ``name`` is the model's for that.
        """
        if template is None and not tokenizer.chat_template:
            raise ConfigError(
                Problem(
                    name or "the model",
                    "its tokenizer has no chat template",
                    "name the template it is to be asked with",
                )
            )
        self._prompts = PromptEncoder.from_tokenizer(tokenizer, template)
        self._stop = _find_stop(tokenizer, template)
        self._follows = _follows_prompt(self._prompts)

    def encode(self, messages: Sequence[Message]) -> AnswerIds:
        """Encode a conversation whose last message is the answer to score."""
        prompt = self._prompts.encode(messages[:-1])
        whole = self._prompts.encode(messages, add_generation_prompt=False)
        follows = self._follows and whole[: len(prompt)] == prompt
        if follows and (end := self._find_end(whole, len(prompt))):
            return AnswerIds(whole[:end], len(prompt))
        # The template writes a past answer otherwise than one that is to come.
        answer = self._prompts.encode_data(messages[-1].content.strip())
        return AnswerIds((*prompt, *answer, *self._stop), len(prompt))

    def _find_end(self, ids: Sequence[int], start: int) -> int | None:
        """Return where the answer that begins at ``start`` is ended; ``None`` if it is not."""
        if not self._stop:
            return None
        places = (place for place in range(start, len(ids)) if ids[place] == self._stop[0])
        return next((place + 1 for place in places), None)


def _follows_prompt(encoder: PromptEncoder) -> bool:
    """Tell whether an answer that was given stands where the prompt that asks for it ends."""
    question, answer = Message("user", "So?"), Message("assistant", _PROBE)
    prompt = encoder.template.render((question,))
    whole = encoder.template.render((question, answer), add_generation_prompt=False)
    return whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith(_PROBE)


def _find_stop(tokenizer: Any, template: str | None) -> tuple[int, ...]:
    """Return the token the template writes after an answer, else the tokenizer's end, if any.

    What the tokenizer calls its end of text is another token in base models and in some chat
    models (Gemma, Phi-3).
    """
    rendered = read_template(tokenizer, template).render(
        (Message("user", "So?"), Message("assistant", _PROBE)), add_generation_prompt=False
    )
    known = {str(token): int(index) for index, token in tokenizer.added_tokens_decoder.items()}
    rest = rendered[rendered.rindex(_PROBE) + len(_PROBE) :].lstrip()
    spelled = "|".join(re.escape(token) for token in sorted(known, key=len, reverse=True))
    found = re.match(spelled, rest) if spelled else None
    if found is not None and found.group():
        return (known[found.group()],)
    end = tokenizer.eos_token_id
    return () if end is None else (int(end),)


def load_model(model: str, revision: str | None = None) -> Any:
    """Load a causal model for scoring onto the GPUs that are visible, or the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with _hide_progress_bars():
        loaded = AutoModelForCausalLM.from_pretrained(
            fetch_model(model, revision),
            revision=revision or "main",
            dtype=torch.bfloat16 if gpus else torch.float32,
            device_map="auto" if gpus > 1 else None,
            use_cache=False,
            trust_remote_code=False,
        )
    if not gpus:
        use_cores(loaded.num_parameters())
    return (loaded.to("cuda") if gpus == 1 else loaded).eval()


@contextmanager
def _hide_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars into a live display; what was set is put back."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def find_context(model: Any) -> int | None:
    """Return how many tokens a loaded model takes at once, or ``None`` if it does not say."""
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if length is None else int(length)

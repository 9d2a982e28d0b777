"""Builds small tokenizers of the kinds that public models have, each with ChatML's template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

CONTROLS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<pad>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "The keeper of the lighthouse bakes bread, and then    he sleeps.\n\nHow are you?\n",
    "<h1>Bread</h1> is <b>brown</b>: [INST] is no word.\t1 + 1 = 2",
    "system user assistant | im_start | im_end | s | pad. You? Why? (Be it Two, One or Three.)",
] * 20
_METASPACE = "\u2581"


def _train_bytes(**rules: Any) -> Tokenizer:
    inner = Tokenizer(models.BPE(**rules))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=alphabet,
        special_tokens=list(CONTROLS),
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS, trainer)
    return inner


def _build_bytes(*tokens: AddedToken) -> Tokenizer:
    inner = _train_bytes()
    inner.add_tokens(list(tokens))
    return inner


def _build_whole_words() -> Tokenizer:
    """A pretoken that is in the vocabulary is taken whole, control tokens among them."""
    inner = _train_bytes(ignore_merges=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"<[^<>]+>|\s+|[^\s<]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return inner


def _build_spaced(rules: Callable[[Tokenizer], None], *, unigram: bool = False) -> Tokenizer:
    """A SentencePiece conversion: spaces are signs, bytes stand for what is unknown."""
    kept = [*CONTROLS, "<unk>"]
    if unigram:
        inner = Tokenizer(models.Unigram())
        trainer: Any = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=kept, unk_token="<unk>", show_progress=False
        )
    else:
        inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=kept, show_progress=False)
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.train_from_iterator(TEXTS, trainer)
    rules(inner)
    return inner


def _use_first(inner: Tokenizer) -> None:
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)


def _use_always(inner: Tokenizer) -> None:
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")


def _use_legacy(inner: Tokenizer) -> None:
    inner.pre_tokenizer = None
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_METASPACE), normalizers.Replace(" ", _METASPACE)]
    )


def _use_replaced(inner: Tokenizer) -> None:
    inner.pre_tokenizer = None
    inner.normalizer = normalizers.Replace(" ", _METASPACE)


def _build_word_pieces() -> Tokenizer:
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    kept = [*CONTROLS, "[UNK]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=kept, show_progress=False)
    inner.train_from_iterator(TEXTS, trainer)
    return inner


def _build_words() -> Tokenizer:
    """Whole words, control tokens among them in the vocabulary of the model too."""
    inner = Tokenizer(models.WordLevel(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    kept = [*CONTROLS, "<unk>"]
    trainer = trainers.WordLevelTrainer(special_tokens=kept, show_progress=False)
    inner.train_from_iterator(TEXTS, trainer)
    return inner


def _build_lower() -> Tokenizer:
    """A control token is looked for in the text that the rules made small."""
    inner = _train_bytes()
    inner.normalizer = normalizers.Lowercase()
    inner.add_tokens([AddedToken("<Turn>", special=True, normalized=True)])
    return inner


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": _build_bytes,
    "newline runs": lambda: _build_bytes(AddedToken("\n\n", normalized=False)),
    "newline runs that take spaces": lambda: _build_bytes(
        AddedToken("\n", normalized=False, rstrip=True)
    ),
    "space runs": lambda: _build_bytes(
        AddedToken("    ", normalized=True), AddedToken("  ", normalized=True)
    ),
    "tags": lambda: _build_bytes(AddedToken("<h1>"), AddedToken("<b>", normalized=False)),
    "ends that take spaces": lambda: _build_bytes(
        AddedToken("<|im_end|>", special=True, normalized=False, rstrip=True)
    ),
    "starts that take spaces": lambda: _build_bytes(
        AddedToken("<|im_start|>", special=True, normalized=False, lstrip=True)
    ),
    "single words": lambda: _build_bytes(
        AddedToken("bread", single_word=True), AddedToken("<mask>", special=True, single_word=True)
    ),
    "control words that are no special tokens": lambda: _build_bytes(
        AddedToken("<think>"), AddedToken("</think>"), AddedToken("[INST]")
    ),
    "whole words": _build_whole_words,
    "spaces first": lambda: _build_spaced(_use_first),
    "spaces always": lambda: _build_spaced(_use_always),
    "spaces in legacy": lambda: _build_spaced(_use_legacy),
    "spaces replaced": lambda: _build_spaced(_use_replaced),
    "unigram": lambda: _build_spaced(_use_always, unigram=True),
    "unigram first": lambda: _build_spaced(_use_first, unigram=True),
    "word pieces": _build_word_pieces,
    "words": _build_words,
    "lower case": _build_lower,
}


def build_kind(kind: str) -> Any:
    """Return a tokenizer of a kind, as transformers loads one."""
    from transformers import PreTrainedTokenizerFast

    inner = KINDS[kind]()
    unknown = next(
        (text for text in ("<unk>", "[UNK]") if inner.token_to_id(text) is not None), None
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token=unknown,
        chat_template=TEMPLATE,
    )

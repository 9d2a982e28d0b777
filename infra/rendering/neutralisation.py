"""Breaks control tokens inside data, for servers whose tokenizers read them in plain text.

Engines that take token ids encode data as plain text and need none of this. An endpoint gets
strings, and most servers' tokenizers turn ``<|eot_id|>`` inside a persona into the real control
token, which ends the turn and lets data write the prompt.
"""

from __future__ import annotations

import re

# One space behind the first character, and no zero-width character: some normalisers (BERT's,
# SentencePiece's nmt_nfkc) drop those and would put the token together again.
_BREAK = " "

_CONTROL_TOKEN = re.compile(
    r"""
      <(?=[|\uff5c][^<>\n]{1,80}[|\uff5c]>)            # Llama 3, ChatML, Phi, DeepSeek
    | <(?=</?SYS>>)                                      # Llama 2
    | <(?=/?(?:s|unk|pad|bos|eos|mask|cls|sep|sop|eop    # SentencePiece and GLM
        |(?:start|end)_of_(?:turn|image|audio|text)      # Gemma
        |think|tool_call|tool_response|tools|answer      # Qwen, reasoning models
        |fim_\w{1,20}|file_sep|repo_name|endoftext
        |unused\d{1,4}|extra_id_\d{1,4}|extra_\d{1,4})>)
    | \[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT
        |IMG|THINK|ARGS|PREFIX|SUFFIX|MIDDLE             # Mistral
        |CLS|SEP|PAD|UNK|MASK|BOS|EOS|gMASK|sMASK)\])    # BERT, GLM
    """,
    re.VERBOSE,
)


def neutralise_special_tokens(text: str) -> str:
    """Return the text with every known control token broken; other text stays as it is.

    ``<|eot_id|>`` becomes ``< |eot_id|>``, ``[INST]`` becomes ``[ INST]``. Doing it twice changes
    nothing more.
    """
    return _CONTROL_TOKEN.sub(lambda match: match.group() + _BREAK, text)


def is_control_token(text: str) -> bool:
    """Tell whether a token is one that model families are known to write around turns."""
    return _CONTROL_TOKEN.match(text) is not None

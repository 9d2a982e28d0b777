"""Parts a conversation that is written down as one text, in the forms that data sets have.

Speakers are named at the beginning of a line ("Human: …", "### Response:", "Q: …", "<bot>: …"), in
capitals also within one, or stand between the marks of a chat template.
"""

from __future__ import annotations

import re

_USERS = "human|user|instruction|question|prompter|usr|q|input"
_MODELS = "assistant|response|answer|bot|gpt|chatgpt|ai|model|a|output"
_LINES = re.compile(
    r"(?:^|\n|(?<=\S)(?=###))\s*(?:#{2,4}\s*)?[<*]{0,2}(?P<role>"
    r"Human|User|Assistant|Instruction|Response|Question|Answer|Bot|GPT|ChatGPT|AI|Q|A|HUMAN|USER"
    r"|ASSISTANT|human|bot|user|assistant|System|SYSTEM|Input(?=:\s*\S))[>*]{0,2}:[*]{0,2}[ \t]*"
)
_INLINE = re.compile(r"(?:^|(?<=\s)|(?<=>))(?P<role>USER|ASSISTANT|GPT|HUMAN|BOT|SYSTEM): ?")
_MARKED = re.compile(
    r"<\|im_start\|>\s*(?P<chatml>\w+)\s*\n|<\|start_header_id\|>\s*(?P<llama>\w+)\s*<\|end_header_id\|>"
    r"|<start_of_turn>\s*(?P<gemma>\w+)\s*\n|<\|(?P<zephyr>user|assistant|system)\|>\s*\n?"
    r"|(?P<inst>\[INST\])(?:\s*<<SYS>>.*?<</SYS>>)?|(?P<answered>\[/INST\])",
    re.DOTALL,
)
_ENDS = re.compile(
    r"<\|(?:im_end|eot_id|endoftext|end_of_text|end)\|>|<end_of_turn>|</?s>|<bos>|<eos>"
    r"|<\|begin_of_text\|>"
)


def split_transcript(text: str) -> list[tuple[str, str]]:
    """Return the turns of a text, each as role and what was said; nothing if it names no speakers.

    Roles are ``user``, ``assistant`` and ``system``. What stands before the first is left out.
    """
    for pattern in (_MARKED, _LINES, _INLINE):
        found = list(pattern.finditer(text))
        turns = [(_name_role(mark), mark) for mark in found]
        if len(turns) < 2 or {role for role, _ in turns} < {"user", "assistant"}:
            continue
        ends = [mark.start() for mark in found[1:]] + [len(text)]
        return [
            (role, _ENDS.sub("", text[mark.end() : end]).strip())
            for (role, mark), end in zip(turns, ends, strict=True)
        ]
    return []


def _name_role(mark: re.Match[str]) -> str:
    told = (mark[mark.lastgroup or 0] or "").lower()
    if told == "[inst]" or re.fullmatch(_USERS, told):
        return "user"
    if told == "[/inst]" or re.fullmatch(_MODELS, told):
        return "assistant"
    return "system" if told == "system" else told

"""Parts what a reasoning model thinks from what it says: thought is not speech.

One function for every engine and every reader. A thought stands at the beginning of a text, or
its opening stood in the prompt and only its end is seen; later in the text marks count only where
the model is known to use them, or where they stand on lines of their own. Marks that a text speaks
*about* (in code, in quotes, in the middle of a sentence) are text.

:class:`ThoughtFilter` does it piece by piece; :func:`part_thought` is that filter, fed once, so a
stream cut anywhere gives the same speech.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from infra.thoughts.marks import (
    CHANNEL_BODY,
    CHANNEL_NAME,
    DOUBTFUL,
    HARMONY,
    LONGEST_MARK,
    NOTHING_KNOWN,
    SPOKEN,
    WRAPPER_OPEN,
    Mark,
    ThinkingFacts,
    load_grammar,
)

_BLANK = re.compile(r"[\s\ufeff\u200b]*")
_SPEAKER = re.compile(
    r"(?:<\|(?:im_start|start_header_id)\|>)?(?:assistant|model)(?:<\|end_header_id\|>)?[ \t]*\n\s*"
    r"|<\|message_model\|>"
)
_BOUNDARY = re.compile(r"(?:^|\n|[.!?…。\uff01\uff1f])[ \t\"'”’»)*_]*\Z")
_SENTENCE_END = "\n.!?…。\uff01\uff1f*_\"'”’»)"
_FENCE = re.compile(r"^[ \t]{0,3}(?:```|~~~)", re.MULTILINE)
_QUOTES = "`\"'“”‘’«»"
_ABOUT = ",.;:!?)]}/-"
"""What follows a mark that a sentence speaks about: ``with </think>, then``."""


@dataclass(frozen=True, slots=True)
class Speech:
    """What a model said, without its thoughts.

    Attributes:
        text: The answer; the text itself where it holds no thought.
        closed: Whether the last thought came to an end. Else there is no answer, whatever
            ``text`` holds.
        thought_chars: Characters of the thoughts that were left out.
    """

    text: str
    closed: bool
    thought_chars: int


def part_thought(text: str, facts: ThinkingFacts = NOTHING_KNOWN) -> Speech:
    """Part the thoughts of a model from its speech; what is speech alone stays as it is.

    ``facts`` are what is known of the model. Doing it twice changes nothing more.
    """
    if not facts.opened and not load_grammar(facts.pairs, facts.special).may_hold(text):
        return Speech(text, True, 0)
    listener = ThoughtFilter(facts)
    listener.feed(text)
    listener.finish()
    return listener.speech


class ThoughtFilter:
    """Parting of one answer that comes in pieces.

    ``retractions`` counts how often all that was given out before turned out to be a thought,
    because its end came without a beginning: the speech starts anew with the next piece.
    """

    def __init__(self, facts: ThinkingFacts = NOTHING_KNOWN) -> None:
        self.retractions = 0
        self._grammar = load_grammar(facts.pairs, facts.special)
        own = (f"own{place}" for place in range(len(facts.pairs)))
        self._known = {*facts.families, *own}
        self._buffer = ""
        self._mode: Literal["start", "thought", "speech", "header"] = "start"
        self._family, self._opening = "", ""
        self._depth, self._seen, self._last_close = 0, 0, 0
        self._prompted = bool(facts.opened)
        self._spoken: list[str] = []
        self._fresh: list[str] = []
        self._parted = self._joins = self._wrapped = self._channels = False
        self._finals = 0
        self._inline = self._blocks = 0  # opening marks that the speech was about
        self._closed, self._thought_chars = True, 0
        if facts.opened:
            first = self._grammar.read_first(facts.opened, 0)
            self._begin(first.family if first is not None else "tag", facts.opened)

    @property
    def thinking(self) -> bool:
        """Tell whether the model is in the middle of a thought."""
        return self._mode in ("thought", "header")

    @property
    def speech(self) -> Speech:
        """Return what was said so far."""
        return Speech("".join(self._spoken), self._closed, self._thought_chars)

    def feed(self, piece: str) -> str:
        """Take a piece and return what is certain to be new speech; see ``retractions``."""
        self._buffer += piece
        return self._run(final=False)

    def finish(self) -> str:
        """Say that nothing more comes, and return the rest of the speech."""
        return self._run(final=True)

    def _run(self, *, final: bool) -> str:
        steps = {
            "start": self._step_start,
            "thought": self._step_thought,
            "speech": self._step_speech,
            "header": self._step_header,
        }
        while steps[self._mode](final):
            pass
        fresh, self._fresh = "".join(self._fresh), []
        return fresh

    def _step_start(self, final: bool) -> bool:
        """Look for a thought where one may begin: nothing has been said yet."""
        text, blank = self._buffer, _BLANK.match(self._buffer)
        lead = blank.end() if blank else 0
        speaker = _SPEAKER.match(text, lead)
        begin = speaker.end() if speaker else lead
        if begin == len(text) and not final:
            return False
        mark = self._grammar.read_first(text, begin)
        if mark is not None and (mark.kind != "close" or self._counts_alone(mark)):
            return self._take_first(mark)
        if not final and (
            self._grammar.may_begin(text[begin:]) or self._grammar.may_begin(text[lead:])
        ):
            return False
        wrapper = WRAPPER_OPEN.match(text, begin) if self._parted else None
        if wrapper is not None:
            self._buffer, self._wrapped = text[wrapper.end() :], True
            return True
        self._buffer = text[lead if self._parted else 0 :]
        self._mode = "speech"
        return bool(self._buffer)

    def _take_first(self, mark: Mark) -> bool:
        text, self._buffer = self._buffer[: mark.end], self._buffer[mark.end :]
        if mark.kind == "channel":
            self._buffer = text[mark.start :] + self._buffer
            self._parted = self._channels = True
            self._mode = "header"
        elif mark.kind == "open":
            self._begin(mark.family, text)
        elif mark.kind != "special":
            self._parted = True
            self._known.add(mark.family)
        return True

    def _begin(self, family: str, opening: str) -> None:
        self._mode, self._family, self._opening = "thought", family, opening
        self._depth, self._seen, self._last_close = 1, 0, 0

    def _step_thought(self, final: bool) -> bool:
        """Look for the end of a thought; nested ones end where they balance."""
        text = self._buffer
        while mark := self._grammar.find_inside(self._family, text, self._seen):
            if mark.end == len(text) and not final:
                self._seen = mark.start
                return False
            if mark.kind == "channel":
                return self._leave_channel(mark.start)
            if _is_quoted(text[: mark.start], text[mark.end :]):
                self._seen = mark.end
            elif mark.kind == "open":
                # Some models write the mark again that the prompt ended with.
                again = self._prompted and not text[: mark.start].strip()
                self._depth += 0 if again else 1
                self._seen = mark.end
            else:
                self._depth -= 1
                if not self._depth:
                    return self._leave(mark.end)
                self._seen = self._last_close = mark.end
        self._seen = max(self._seen, len(text) - LONGEST_MARK)
        return final and self._end_open()

    def _end_open(self) -> bool:
        """Decide what a thought was that did not balance before the text ended."""
        if self._last_close:  # it only spoke about an opening mark
            return self._leave(self._last_close)
        if self._family in SPOKEN and not self._is_certain():
            self._buffer, self._mode = self._opening + self._buffer, "speech"
            return True
        self._closed = self._family == HARMONY and self._finals > 0
        self._thought_chars += len(self._buffer)
        self._buffer = ""
        return False

    def _is_certain(self) -> bool:
        if self._family in DOUBTFUL:
            return False
        return self._family == "stripped" or self._family in self._known

    def _leave(self, end: int) -> bool:
        self._thought_chars += end
        self._buffer = self._buffer[end:]
        self._parted, self._prompted = True, False
        self._known.add(self._family)
        self._resume()
        return True

    def _resume(self) -> None:
        """Go on after a thought: where nothing was said yet, another may follow."""
        self._joins = bool(self._spoken)
        self._mode = "speech" if self._spoken else "start"

    def _leave_channel(self, start: int) -> bool:
        if self._mode == "thought":
            self._thought_chars += start
        self._buffer, self._mode = self._buffer[start:], "header"
        return True

    def _step_header(self, final: bool) -> bool:
        """Read whose channel follows: only the final one is speech."""
        place = self._buffer.find(CHANNEL_BODY)
        if place < 0:
            if final:
                self._closed = self._finals > 0
                self._thought_chars += len(self._buffer)
                self._buffer = ""
            return False
        named = CHANNEL_NAME.search(self._buffer, 0, place)
        to_itself = "to=self" in self._buffer[:place]
        self._buffer = self._buffer[place + len(CHANNEL_BODY) :]
        self._wrapped = True
        if to_itself:
            self._begin("recipient", "")
        elif named is None or named[1].lower().startswith("final"):
            self._finals += 1
            self._resume()
        else:
            self._begin(HARMONY, "")
        return True

    def _step_speech(self, final: bool) -> bool:
        """Give out speech up to the next mark, and decide what the mark is."""
        text = self._buffer
        mark = self._grammar.find(text)
        open_from = len(text) - (0 if final else self._grammar.count_held(text))
        if mark is None or (not final and (mark.end == len(text) or open_from < mark.start)):
            keep = open_from if mark is None else min(open_from, mark.start)
            self._say(text[:keep])
            self._buffer = text[keep:]
            return False
        self._say(text[: mark.start])
        self._buffer = text[mark.end :]
        if mark.kind == "channel" and self._channels:
            self._buffer = text[mark.start :]
            return self._leave_channel(0)
        if not self._drops(mark):
            self._meet(mark, text[mark.start : mark.end])
        elif not self._spoken:
            self._mode = "start"
        return True

    def _drops(self, mark: Mark) -> bool:
        """Tell whether a mark is neither speech nor a thought: the end of an answer's frame."""
        if mark.kind == "special":
            return True
        closes = mark.kind == "wrapper" or (
            mark.kind == "close" and not self._grammar.ends_a_thought(mark.family)
        )
        return closes and (self._wrapped or mark.family in self._known)

    def _counts_alone(self, mark: Mark) -> bool:
        return self._grammar.ends_a_thought(mark.family) or mark.family in self._known

    def _meet(self, mark: Mark, text: str) -> None:
        context, after = "".join(self._spoken), self._buffer[:1]
        self._spoken = [context] if context else []  # joined once, however many marks follow
        if not _is_mentioned(context, self._buffer):
            alone = _BLANK_LINE.search(context[-LONGEST_MARK:]) is not None and after in ("", "\n")
            if mark.kind == "close" and self._ends_thought(mark, context, after, alone):
                self._retract(mark)
                return
            if mark.kind in ("open", "empty") and self._opens(mark, context, alone):
                if mark.kind == "open":
                    self._begin(mark.family, text)
                return
            if mark.kind == "open":
                self._blocks += alone
                self._inline += not alone
        self._say(text)

    def _opens(self, mark: Mark, context: str, alone: bool) -> bool:
        """Tell whether a thought begins in the middle of speech."""
        if context[-LONGEST_MARK:].rstrip().endswith(":"):  # "models write:"
            return False
        return alone or (
            mark.family in self._known and _BOUNDARY.search(context[-LONGEST_MARK:]) is not None
        )

    def _ends_thought(self, mark: Mark, context: str, after: str, alone: bool) -> bool:
        """Tell whether all that was said so far was a thought that began in the prompt."""
        if not self._grammar.ends_a_thought(mark.family):
            return False
        if alone and self._blocks:
            self._blocks -= 1
            return False
        if not alone and self._inline:
            self._inline -= 1
            return False
        before = context[-LONGEST_MARK:].rstrip(" \t")[-1:]
        if after in ("", "\n") or before in _SENTENCE_END:
            return True
        if context[-1:].isspace():
            return False
        return before.isalnum() and after not in _ABOUT

    def _retract(self, mark: Mark) -> None:
        self._thought_chars += sum(map(len, self._spoken))
        self._spoken, self._fresh = [], []
        self.retractions += 1
        self._inline = self._blocks = 0
        self._parted, self._joins = True, False
        self._known.add(mark.family)
        self._mode = "start"

    def _say(self, text: str) -> None:
        """Give out speech; around a thought that was cut out words stay apart."""
        if self._joins and text:
            before = self._spoken[-1][-1]
            if before.isspace():
                text = text.lstrip()
            elif before in '.!?…"”' and text[0].isalnum():
                text = f" {text}"
            self._joins = not text
        if text:
            self._spoken.append(text)
            self._fresh.append(text)


_BLANK_LINE = re.compile(r"(?:^|\n)[ \t]*\Z")


def _is_mentioned(before: str, after: str) -> bool:
    """Tell whether a text speaks about the mark between: in code or in quotes."""
    if _is_quoted(before, after):
        return True
    fenced = "```" in before or "~~~" in before  # quicker than the pattern, and mostly not so
    if fenced and len(_FENCE.findall(before)) % 2:
        return True
    line = before[before.rfind("\n") + 1 :]
    return line.count("`") % 2 == 1


def _is_quoted(before: str, after: str) -> bool:
    return before[-1:] in _QUOTES and after[:1] in _QUOTES if before and after else False

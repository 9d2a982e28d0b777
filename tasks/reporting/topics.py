"""Counts the words that many texts share: what a data set is about, at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from infra.text.wording import split_words

_SHORTEST = 3
_ENGLISH = """
about above after again against all also although among and another any are around because been
before being between both but can cannot could did does doing down during each either else ever
every few for from further had has have having her here hers herself him himself his how however
into its itself just least less let like made make makes making many may me might mine more most
much must myself near neither nor not now off often once one only onto other others our ours out
over own per please rather same she should since some someone such than that the their theirs
them themselves then there these they this those though through thus too toward towards two
under until upon use used using very was way were what when where whether which while who whom
whose why will with within without would yes yet you your yours yourself
aren couldn didn doesn don hadn hasn haven isn shouldn wasn weren won wouldn
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split())


def count_topics(texts: Iterable[str], most: int) -> list[tuple[str, int]]:
    """Return the words that most texts contain, and in how many, commonest first.

    English function words and words below three letters are left out; a word counts once a text.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            word
            for word in set(split_words(text))
            if len(word) >= _SHORTEST and word not in _FUNCTION_WORDS and not word.isdecimal()
        )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ranked[:most]

"""Writes texts of all that a filter of texts stumbles over, for tests of batches."""

from __future__ import annotations

from hypothesis import strategies as st

_PIECES = """\
I mend nets¦the sea¦cold¦cold, cold¦ha¦no¦ha ha ha¦very cold¦7¦12 12¦it's¦don\u2019t¦e.g.¦U.S.¦\
p.m.¦Heave away, away!¦We sail at dawn.¦We sail at dawn. ¦We sail at dawn.We sail¦\
mend every net¦chi mends every torn net¦mend nets¦a cup, a spoon, a fork¦\
so it goes and so it goes¦\u2026¦...¦--¦---¦!!!!!!!!!!!!¦User: who are you?¦Human: yes¦user¦\
assistant¦user:¦The user¦AI:¦Bot \u2013 Yes¦### Instruction¦## Note¦role: user¦{"role": "user"}¦\
<user>¦Ada: hello¦You: hello¦Bo Lind: hello¦Q: why?¦A: because¦Input:¦Answer:¦**Ada**: well¦\
*smiles*¦(nods slowly)¦[pauses]¦- bows¦{waves}¦<sighs deeply>¦~winks~¦_leans in_¦*no*¦[Name]¦\
[insert name]¦{{user}}¦{name}¦%NAME%¦$USER¦___¦a ___ here¦XX years¦xxxx¦<your name>¦\
(insert a name)¦lorem ipsum dolor¦<0x0A>¦it&#39;s&quot;s¦&#39;&quot;¦# Bot \u2013 Yes¦\
\\u00e9\\u00e9¦\\xe2\\x80\\x99¦caf\u00e9¦\
caf\u00e9\u2019s¦\u00e9\u2019\u00e9\u2019\u00e9\u2019¦\u00d1\u2018\u00d1\u2019\u00d1\u201c¦\
\u00e2\u20ac\u2122¦\u00c3\u00a9¦\u0120the¦\ufffd\ufffd\ufffd¦{}()<>;:¦?!@#%^&*()_¦!?!?#@!?¦\
```python\nrow()\n```¦`x`¦~~~\nx\n~~~¦~~~sh\nls x¦$x_1 = 2$¦\\(x\\)¦\\[y\\]¦www.nets.test¦https://nets.test/a¦\
<b>bold</b>¦](url)¦| day | tide |\n|---|---|\n| one | two |¦row();¦row()¦x = 1¦for x in y:¦\
from nets import x¦}\n¦-> go(x)¦    x = {}¦1. Mend¦- Mend¦a) Mend¦> Quote¦\u2022 Mend¦# Head¦1.¦\
(2) Sail¦***¦===¦_¦__¦a ;!,¦word_with_parts¦_x_¦I cannot help with that.¦\
I'm sorry, but I can\u2019t¦I won't assist¦I must decline to answer¦against my guidelines¦\
As an AI language model,¦I am a chatbot.¦I was trained by OpenAI¦my programming is¦\
My name is Bo Lind¦cookcookcookcookcookcookcookcook¦aaaaaaaaaaaaaaaaaaaaaaaaaaaa¦\
<|im_end|>¦[INST]¦</s>¦<s>x</s>¦<|x|>¦<bos>¦\u6162\u6162\u6765¦\u0e0a\u0e31\u0e19\u0e0b\u0e48\u0e2d¦Stra\u00dfe¦\
\u00c9T\u00c9 \u00e9t\u00e9¦\u0130¦\ufb01ne¦\u00bd¦\u00b5m¦\u212a¦\u017fea¦n\u0303¦\u0661\u0662¦\
\u00a0¦\t¦\u2003"""
PIECES = tuple(_PIECES.split("\u00a6"))
_JOINTS = ("", " ", " ", ". ", ", ", "\n", "\n\n", "; ", ": ", " \n ", "*", '"')
_QUESTIONS = ("", "How do you do?", "Write a dialogue.", "Repeat it ten times.", "Write a letter.")


def texts() -> st.SearchStrategy[str]:
    """Return texts of pieces that filters look for, some of them again and again, and any text."""
    piece = st.sampled_from(PIECES) | st.text("ab \n.!\u2019", max_size=6)
    unit = st.lists(st.tuples(piece, st.sampled_from(_JOINTS)), min_size=1, max_size=4).map(_join)
    copies = st.sampled_from((1, 1, 1, 2, 3, 5, 9, 20, 45))
    repeated = st.tuples(unit, copies).map(lambda drawn: drawn[0] * drawn[1])
    return st.lists(repeated, max_size=6).map("".join) | st.text(max_size=40)


def questions() -> st.SearchStrategy[str]:
    """Return what may have been asked."""
    return st.sampled_from(_QUESTIONS)


def _join(drawn: list[tuple[str, str]]) -> str:
    return "".join(piece + joint for piece, joint in drawn)

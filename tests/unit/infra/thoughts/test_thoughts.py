"""Proves that thoughts are parted from speech, whole or in pieces, and that speech stays whole."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.thoughts.marks import ThinkingFacts
from infra.thoughts.parting import Speech, ThoughtFilter, part_thought

ANSWER = "The ferry leaves at six, child."
TAGS = ThinkingFacts(families=frozenset({"tag"}))
OPENED = ThinkingFacts(opened="<think>", families=frozenset({"tag"}))
OWN = ThinkingFacts(pairs=(("{{muse}}", "{{/muse}}"),))


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nShe asks of boats.\n</think>\n\n{ANSWER}",
        f"  \n<think>boats</think>{ANSWER}",
        f"<THINK>boats</THINK> {ANSWER}",
        f'<think type="plan" n="2">boats</think>{ANSWER}',
        f"<thinking>boats</thinking>{ANSWER}",
        f"<thought>boats</thought>\n{ANSWER}",
        f"<Thought>boats</Thought><Output>{ANSWER}</Output>",
        f"<reasoning>boats</reasoning>\n<answer>{ANSWER}</answer>",
        f"<thinking>a<reflection>b</reflection>c</thinking>\n<reflection>d</reflection>{ANSWER}",
        f"<think>a <think>b</think> c</think>{ANSWER}",
        f"<think>one</think>\n\n<think>two</think>\n\n{ANSWER}",
        f"<think>she wrote <think> twice</think>{ANSWER}",
        f"<think>I must end with `</think>` later</think>{ANSWER}",
        f"<think>\n\n</think>\n\n{ANSWER}",
        f"<think/>{ANSWER}",
        f"<think>boats</think>\n<answer>\n{ANSWER}</answer>",
        f"<seed:think>boats</seed:think>{ANSWER}",
        f"<mm:think>boats</mm:think>{ANSWER}",
        f"<ifm|think_fast>boats</ifm|think_fast>{ANSWER}",
        f"<longcat_think>boats</longcat_think>\n{ANSWER}",
        f"<think:v2>boats</think:v2>{ANSWER}",
        f"[THINK]boats[/THINK]{ANSWER}",
        f"◁think▷boats◁/think▷{ANSWER}",
        f"<|begin_of_thought|>boats<|end_of_thought|>\n<|begin_of_solution|>{ANSWER}"
        "<|end_of_solution|>",
        f"<|START_THINKING|>boats<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
        f"<|plamo:begin_think:plamo|>boats<|plamo:end_think:plamo|>{ANSWER}",
        f"<think_start>boats<think_end>{ANSWER}",
        f"<|channel>thought\nboats<channel|>{ANSWER}",
        f"<unused94>thought\nboats<unused95>{ANSWER}",
        f"<|inner_prefix|>boats<|inner_suffix|>{ANSWER}",
        f"<|content_thinking|>boats<|end_message|><|message_model|><|content_text|>{ANSWER}"
        "<|end_message|>",
        f"<|open|>think<|sep|>boats<|close|>think<|sep|><|open|>response<|sep|>{ANSWER}"
        "<|close|>response<|sep|>",
        f"to=self<|message|>boats<|eom|><|start|>assistant to=user<|message|>{ANSWER}<|eot|>",
        f"Here is my thought process: boats. Here is my response: {ANSWER}",
        f"Here's my thought process:\nboats\n\nHere's my response:\n{ANSWER}",
        f"Thinking...\nboats\n...done thinking.\n\n{ANSWER}",
        "<|channel|>analysis<|message|>boats<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{ANSWER}<|return|>",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b"
        f"<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
        f"analysisThe child asks of boats.assistantfinal{ANSWER}",
        f'<details type="reasoning" done="true">\nboats\n</details>\n{ANSWER}',
        f"assistant\n\n<think>boats</think>\n\n{ANSWER}",
        f"<reason>boats</reason>\n{ANSWER}",
        f"<analysis>\nboats\n</analysis>\n\n{ANSWER}",
        f"<thinking_process>boats</thinking_process>{ANSWER}",
        f"<reasoning-content>boats</reasoning-content>{ANSWER}",
        f"<思考>boats</思考>\n{ANSWER}",
        f"[Thinking]\nboats\n[/Thinking]\n{ANSWER}",
        f"```thinking\nboats\n```\n{ANSWER}",
        f"**Thinking:** she asks of boats.\n\n**Response:** {ANSWER}",
        f"Thought: she asks of boats.\nFinal Answer: {ANSWER}",
        # the opening mark stood in the prompt
        f"She asks of boats.\n</think>\n\n{ANSWER}",
        f"Should I tell her?…</think> {ANSWER}",
        f"she asks of boats</think>{ANSWER}",
        f"</think>\n\n{ANSWER}",
        f"boats[/THINK]{ANSWER}",
        f"<think>boats</think>\nAnd the tide.\n</think>\n\n{ANSWER}",
    ],
)
def test_a_thought_is_parted_whatever_its_marks(text: str) -> None:
    speech = part_thought(text)
    assert (speech.text.strip(), speech.closed) == (ANSWER, True)
    assert speech.thought_chars or "think/>" in text or text.startswith("</think>")


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        "",
        "  \n Mind the step.  \n",
        "I think it rains. In thought, I am at sea.",
        "<b>Ahoy</b>, and <i>mind</i> the [rope].",
        "Models write `<think>` first and `</think>` after it.",
        "Put it between <think> and </think>, as the page says.",
        "They answer so:\n```\n<think>\nboats\n</think>\nSix.\n```\nThat is all.",
        "They answer so:\n<think>\nboats\n</think>\nSix.",
        'On the wall stood "</think>", in red paint.',
        "He types </think> and then goes home.",
        "A pair such as <think>/</think> parts them.",
        "The tag <think>boats</think> is one of theirs.",
        "Here is my thought process: first the sails, then the rope.",
        "analysis of the tide comes first; assistant final exams come later",
        "<thinks about it> Perhaps at six.",
        "[thinks] Perhaps at six.",
        "<details>The tide</details> turns at six.",
        "<no_think>Ahoy",
        "a < b, and b > c: that is the order.",
        "assistant\n\nThe ferry leaves.",
    ],
)
@pytest.mark.parametrize("facts", [ThinkingFacts(), TAGS], ids=["unknown", "tags"])
def test_speech_about_marks_is_speech(text: str, facts: ThinkingFacts) -> None:
    assert part_thought(text, facts) == Speech(text, True, 0)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("<think>\nShe asks of boats and I should", ThinkingFacts()),
        ("<think>a<think>b", ThinkingFacts()),
        ("[THINK]boats", ThinkingFacts()),
        ("<|channel|>analysis<|message|>She asks", ThinkingFacts()),
        ("<|channel|>analysis<|message|>boats<|end|><|start|>assist", ThinkingFacts()),
        ("analysisShe asks of boats", ThinkingFacts()),
        ("She asks of boats and", OPENED),
        ("", OPENED),
        ("Here is my thought process: boats", ThinkingFacts(families=frozenset({"granite"}))),
        ("Six.\n\n<think>\nOr was it", TAGS),
    ],
)
def test_a_thought_that_does_not_end_is_no_answer(text: str, facts: ThinkingFacts) -> None:
    speech = part_thought(text, facts)
    assert not speech.closed
    assert "boats" not in speech.text and "asks" not in speech.text


@pytest.mark.parametrize(
    ("text", "facts", "said"),
    [
        ("boats</think>Six.", OPENED, "Six."),
        ("<think>\nboats</think>\nSix.", OPENED, "Six."),
        ("I close it with </think> and it is done", OPENED, " and it is done"),
        ("{{muse}}boats{{/muse}}Six.", OWN, "Six."),
        ("boats{{/muse}}Six.", ThinkingFacts(opened="{{muse}}", pairs=OWN.pairs), "Six."),
        ("{{muse}}boats{{/muse}}Six.", ThinkingFacts(), "{{muse}}boats{{/muse}}Six."),
        ("At six. <think>or</think> At seven.", TAGS, "At six. At seven."),
        ("At six.<think>or</think>At seven.", TAGS, "At six. At seven."),
        ("At six. <think>or</think> At seven.", ThinkingFacts(), None),
        ("Aye.\n\n<think>\nboats\n</think>\n\nAt six.", ThinkingFacts(), "Aye.\n\nAt six."),
        ("<think>a</think>At six.<think>b</think> At seven.", ThinkingFacts(),
         "At six. At seven."),
        ("[THINK]a[/THINK]Six.</s>", ThinkingFacts(special=("</s>", "<s>"), keep_special=True),
         "Six."),
    ],
)  # fmt: skip
def test_what_is_known_of_the_model_decides(
    text: str, facts: ThinkingFacts, said: str | None
) -> None:
    assert part_thought(text, facts).text.strip() == (text if said is None else said).strip()


MARKS = [
    "<think>", "</think>", "<thinking>", "</thinking>", "<think/>", "< think >", "<reflection>",
    "[THINK]", "[/THINK]", "◁think▷", "◁/think▷", "<|channel>", "<channel|>", "<|channel|>",
    "analysis", "final", "<|message|>", "<|end|>", "<|start|>", "assistant", "<answer>",
    "</answer>", "Here is my thought process:", "Here is my response:", "<|START_THINKING|>",
    "<|END_THINKING|>", "{{muse}}", "{{/muse}}", "<|open|>think<|sep|>", "<|close|>think<|sep|>",
    "<think a=", "<", ">", "[", "/", "|", "`", "```", "\"", "\n", "\n\n", " ", ".", ":", "Aye",
    "boats. ", "Thinking...\n", "...done thinking.", "assistantfinal", "to=self<|message|>",
    "<|eom|>", "Thought:", "**Thinking:**", "\nAnswer:", "\n**Response:**", "[Thinking]",
    "[/Thinking]", "```think\n", "\n```\n", "<analysis>", "</analysis>",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(MARKS) | st.text(max_size=4), max_size=14).map("".join)
KNOWN = st.sampled_from([ThinkingFacts(), TAGS, OPENED, OWN])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(TEXTS, st.lists(st.integers(1, 7), min_size=1, max_size=6), KNOWN)
@example("Aye.\n</think>\nSix.", [1], ThinkingFacts())
@example("Aye <think", [2], TAGS)
@example("**Thought:** boats.\n**Answer:** Aye.", [3], ThinkingFacts())
@example("```think\nboats\n```\nAye.", [2], ThinkingFacts())
@example("[Thinking] boats [/Thinking] Aye.", [4], OPENED)
@example("Thought: a\nAnswer: Thought: b", [1], ThinkingFacts())
def test_a_stream_cut_anywhere_gives_the_same_speech(
    text: str, sizes: list[int], facts: ThinkingFacts
) -> None:
    listener, heard, retractions, place, turn = ThoughtFilter(facts), "", 0, 0, 0
    while place <= len(text):
        size = sizes[turn % len(sizes)]
        piece = listener.feed(text[place : place + size])
        place, turn = place + size, turn + 1
        heard = piece if listener.retractions > retractions else heard + piece
        retractions = listener.retractions
    piece = listener.finish()
    heard = piece if listener.retractions > retractions else heard + piece
    assert listener.speech == part_thought(text, facts)
    assert heard == listener.speech.text


@settings(max_examples=400, deadline=None, derandomize=True)
@given(TEXTS)
def test_parting_twice_changes_nothing_more(text: str) -> None:
    once = part_thought(text)
    assert part_thought(once.text).text == once.text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_text_without_marks_stays_as_it_is(text: str) -> None:
    if not set("<[◁") & set(text):
        assert part_thought(text) == Speech(text, True, 0)


@pytest.mark.parametrize(
    "text",
    [
        f"[thinking] {ANSWER}",
        f"```thinking\n{ANSWER}",
        f"Thought: a fine word.\n{ANSWER}",
        f"Thinking: that is what boats are for. {ANSWER}",
        "**Thought:** the sea.",
    ],
)
def test_words_that_may_open_a_thought_are_speech_where_none_ends(text: str) -> None:
    assert part_thought(text) == Speech(text, True, 0)

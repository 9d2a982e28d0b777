"""Proves that other languages are caught and odd English is not."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.text.languages import detect_languages, is_language, known_languages

REAL = Path(__file__).parents[5] / "shared/data/personas_persona_hub.jsonl"


@pytest.mark.parametrize(
    "text",
    [
        "a passionate Italian poet",
        "A history teacher raised in Compiègne",
        "a contemporary Polish poet who admires Czesław Miłosz's works",
        "Massimiliano Bartoli, a chef and restauranteur",
        "A fan of the singer 周杰伦 who plays the piano",
        "Compiler Designer",
        "<|eot_id|>{{ persona }}{% raw %}",
        "",
        "12345 !!",
        "\ud800 who is a nurse at a small clinic",
    ],
)
def test_short_english_with_foreign_names_passes(text: str) -> None:
    assert is_language(text, "en")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("一个对体育完全无兴趣的星座迷", "zh"),
        ("《ONE PIECE》的铁粉", "zh"),
        ("狂热的 K-Pop 爱好者 热爱Weki Meki", "zh"),
        ("東京に住んでいる料理人です", "ja"),
        ("서울에 사는 요리사", "ko"),
        ("IT специалист, занимающийся архитектурой серверов", "ru"),
        ("Вчителька історії з Києва", "uk"),
        ("معلم تاريخ من القاهرة", "ar"),
        ("Uma estudante universitária que adora fazer compras online", "pt"),
        ("Un critico gastronomico rispettato che viaggia molto", "it"),
        ("Ein Geschichtslehrer, der sich für die Kolonialgeschichte interessiert.", "de"),
    ],
)
def test_other_languages_are_caught_and_named(text: str, language: str) -> None:
    assert detect_languages([text]) == [language]
    assert not is_language(text, "en")
    assert is_language(text, language)
    assert language in known_languages()


def test_a_language_that_cannot_be_told_is_judged_by_its_script_only() -> None:
    assert is_language("Uma estudante universitária que adora fazer compras online", "hu")
    assert not is_language("一个对体育完全无兴趣的星座迷", "hu")


def test_threads_may_ask_at_once() -> None:
    texts = ["A nurse who works at night in a small town", "Un profesor de educación física"] * 20
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: detect_languages(texts), range(8)))
    assert all(answer == ["en", "es"] * 20 for answer in answers)


@pytest.mark.skipif(not REAL.exists(), reason=f"no real personas at {REAL}")
def test_no_real_english_persona_is_rejected() -> None:
    """All 78 rows that it rejects were read: one is half Chinese, the others foreign."""
    texts = [json.loads(line)["persona"] for line in REAL.read_text().splitlines()]
    rejected = [
        text
        for text, found in zip(texts, detect_languages(texts), strict=True)
        if found not in (None, "en")
    ]
    assert len(rejected) == 78
    (mixed,) = [text for text in rejected if " the " in text or " who " in text]
    assert mixed.startswith("An IT professional who is not very fond of JavaScript")

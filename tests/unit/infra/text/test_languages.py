"""Proves that other languages are caught and odd English is not."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.text import languages
from infra.text.languages import detect_languages, find_foreign, is_language, known_languages

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


@pytest.mark.parametrize(
    "letters", ["для", "из я", "من", "معلم", "और", "हूँ", "ที่", "นี้", "και", "της", "של", "עם"]
)
def test_a_few_words_of_another_script_do_not_make_a_text_foreign(letters: str) -> None:
    """Under two fifths of the letters; a Chinese character alone counts for more than one."""
    text = "x" * (2 * len(letters.replace(" ", ""))) + " " + letters
    assert detect_languages([text]) == [None]
    assert detect_languages([letters]) != [None]


def test_a_language_that_cannot_be_told_is_judged_by_its_script_only() -> None:
    assert is_language("Uma estudante universitária que adora fazer compras online", "hu")
    assert not is_language("一个对体育完全无兴趣的星座迷", "hu")


ENGLISH = "The secret of good bread is that you have to wait for it, and be kind to the oven."
FOREIGN = [
    "Tajemství dobrého chleba je čas, řekla mi babička, a že se na něj musí počkat.",
    "Das Geheimnis eines guten Brotes ist die Geduld, sagte meine Tante jeden Morgen früh.",
    "El secreto del buen pan es que hay que esperar, y que no se puede tener prisa.",
    "Le secret d'un bon pain est le temps, et il faut que la pâte repose toute la nuit.",
    "Rahasia roti yang enak adalah waktu, dan kita harus menunggu dengan sabar.",
    "Il segreto del buon pane e il tempo, e non si deve avere fretta con la pasta.",
    "Het geheim van goed brood is dat je moet wachten, en dat de oven warm was.",
    "Sekret dobrego chleba to czas i trzeba na niego czekać, a piec musi być gorący.",
    "O segredo de um bom pão é o tempo, e a massa tem de descansar a noite toda.",
    "Hemligheten med ett gott bröd är att man måste vänta, och att ugnen är het.",
    "İyi bir ekmek için beklemek gerekir, ve büyükannem bunu bize her gün söylerdi.",
    "Bí quyết của bánh mì ngon là thời gian, và bạn phải chờ cho bột nở.",
]


def test_only_another_language_is_foreign() -> None:
    assert find_foreign([ENGLISH, FOREIGN[1], "Ciao!", "面包的秘密是时间和耐心"], "en") == {
        1: "de",
        3: "zh",
    }
    assert find_foreign([ENGLISH * 3, FOREIGN[1]], "de") == {0: "en"}


def note_asked(
    monkeypatch: pytest.MonkeyPatch, answers: dict[bool, str | None]
) -> dict[bool, list[str]]:
    """Put words into lingua's mouth, by whether it is thorough; return what it is asked about."""
    asked: dict[bool, list[str]] = {True: [], False: []}

    def ask(texts: Mapping[int, str], *, thorough: bool) -> Iterator[tuple[int, str | None]]:
        asked[thorough] += texts.values()
        yield from ((index, answers[thorough]) for index in texts)

    monkeypatch.setattr(languages, "_ask_lingua", ask)
    return asked


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("δε abc", "el"),
        ("δε abcd", None),
        ("한국 abcdef", "ko"),
        ("한국 abcdefg", None),
        ("かな abcdef", "ja"),
        ("かな abcdefg", None),
        ("猫 abcd", "zh"),
        ("猫 abcde", None),
        ("かなの" + "猫" * 8, "ja"),
        ("かなの" + "猫" * 9, "zh"),
    ],
)
def test_two_fifths_of_the_letters_name_a_script_and_a_fifth_of_those_kana(
    text: str, language: str | None
) -> None:
    """A Chinese character counts as three letters, one of kana or of hangul as two."""
    assert detect_languages([text]) == [language]


def test_plain_english_never_reaches_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with a foreign name or two; English words in another language do not make it English."""
    plain = ["I love yoga and I am from Łódź", "who is a fan of Guillaume de la Tour", ENGLISH]
    other = [*FOREIGN, "Die Managerin von The Body Shop, die mit Fast and Furious aufwuchs", "Me"]
    asked = note_asked(monkeypatch, {False: "en", True: "en"})
    assert find_foreign([*plain, *other], "en") == {}
    assert asked == {True: [], False: other}
    assert detect_languages(plain) == ["en"] * 3
    assert asked[True] == plain


def test_english_words_tell_from_two_and_a_fifth_and_four_for_each_foreign_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = [
        "the baker of Kiel",
        "the baker of Kiel" + " x" * 6,
        "the baker of Kiel is old and der",
    ]
    other = [
        "the baker Kiel",
        "the baker of Kiel" + " x" * 7,
        "the baker of Kiel is der",
        "is in",
    ]
    asked = note_asked(monkeypatch, {False: "en", True: "en"})
    assert find_foreign([*plain, *other], "en") == {}
    assert asked == {True: [], False: other}


def test_lingua_looks_closely_where_words_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = note_asked(monkeypatch, {False: "it", True: "en"})
    texts = [
        "a passionate Italian poet",
        "Il poeta que sono",
        "Il poeta and un nel",
        "Il poeta que",
    ]
    assert find_foreign(texts, "en") == {1: "it"}
    assert asked == {True: [texts[0], texts[2], texts[3]], False: texts}


def test_threads_may_ask_at_once() -> None:
    texts = ["A nurse who works at night in a small town", "Un profesor de educación física"] * 20
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: detect_languages(texts), range(8)))
    assert all(answer == ["en", "es"] * 20 for answer in answers)


@pytest.mark.skipif(not REAL.exists(), reason=f"no real personas at {REAL}")
def test_no_real_english_persona_is_rejected() -> None:
    """All 78 rows that it rejects were read: one is half Chinese, the others foreign."""
    texts = [json.loads(line)["persona"] for line in REAL.read_text().splitlines()]
    rejected = [texts[index] for index in find_foreign(texts, "en")]
    assert len(rejected) == 78
    english = {
        index for index, found in enumerate(detect_languages(texts)) if found in (None, "en")
    }
    assert len(texts) - len(english) == 78
    assert not english & find_foreign(texts, "en").keys()
    (mixed,) = [text for text in rejected if " the " in text or " who " in text]
    assert mixed.startswith("An IT professional who is not very fond of JavaScript")

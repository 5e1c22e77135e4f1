"""The texts of the page: the same names in each language, and the page in each of them."""

import json
import re

import pytest
from conftest import WEB

LANGUAGES = ["zh-Hans", "zh-Hant", "en", "de", "es", "fr", "ja", "ar"]
TEXTS = {name: json.loads((WEB / f"lang/{name}.json").read_text("utf-8")) for name in LANGUAGES}
SOURCES = [path.read_text("utf-8") for path in (*WEB.rglob("*.js"), WEB / "index.html")]


# the plurals of each language that has any (CLDR; test_counted_words compares)
PLURALS = {
    "en": {"one", "other"}, "de": {"one", "other"}, "es": {"one", "many", "other"},
    "fr": {"one", "many", "other"}, "ar": {"zero", "one", "two", "few", "many", "other"},
}  # fmt: skip
WITHOUT_NUMBER = {"zero", "one", "two"}  # a word may say it: "a token"
# values that are texts; all others are numbers
TEXT_VALUES = "amount file language message name names stage text time title".split()


def flat(texts):
    """Returns the texts by name, those with forms as "name.form"."""
    found = {}
    for name, text in texts.items():
        if isinstance(text, dict):
            found |= {f"{name}.{form}": words for form, words in text.items()}
        else:
            found[name] = text if isinstance(text, str) else "\n".join(text)
    return found


def values_of(text):
    return sorted(re.findall(r"\{(\w+)\}", text))


def test_no_other_languages():
    assert {path.stem for path in (WEB / "lang").iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_same_names_and_values(language):
    english, texts = TEXTS["en"], TEXTS[language]
    assert set(texts) == set(english)
    assert len(texts["examples"]) == len(english["examples"])
    for name, text in flat(texts).items():
        assert text.strip() != "", name
        name, _, form = name.partition(".")
        expected = flat(english).get(name) or english[name]["other"]
        missing = set(values_of(expected)) - set(values_of(text))
        assert set(values_of(text)) <= set(values_of(expected)), name
        assert missing <= ({"count"} if form in WITHOUT_NUMBER else set()), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_after_numbers_have_plurals(language):
    for name, text in TEXTS[language].items():
        if "count" not in values_of(" ".join(flat({name: TEXTS["en"][name]}).values())):
            assert not isinstance(text, dict), name
        elif language in PLURALS:
            assert isinstance(text, dict) and set(text) == PLURALS[language], name
        else:
            assert isinstance(text, str), f"{name}: a number changes no words of this language"


def test_a_number_before_a_word_is_the_count():
    for name, text in flat(TEXTS["en"]).items():
        for value, word in re.findall(r"\{(\w+)\}[ -]([A-Za-z]{2,})", text):
            is_word = word not in ("of", "in", "MiB", "GiB")
            # participles, shares and "at a time" are the same for each number
            is_same = name.partition(".")[0] in ("boxRunning", "drafted", "filesTooLarge")
            assert value in ("count", *TEXT_VALUES) or not is_word or is_same, f"{name}: {text}"


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_is_translated(language):
    english, texts = set(flat(TEXTS["en"]).values()), flat(TEXTS[language])
    # languages share words like "Chats" and "tokens/s", but no sentences
    same = [re.sub(r"\{\w+\}", "", text) for text in texts.values() if text in english]
    assert [text for text in same if len(re.findall(r"[A-Za-z]{2,}", text)) > 2] == []


def test_every_text_is_used_and_every_name_exists():
    sources = "\n".join(SOURCES)
    used = set(re.findall(r"\bt\('(\w+)'", sources))
    used |= set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', sources))
    assert used <= set(TEXTS["en"]), used - set(TEXTS["en"])
    made = re.findall(r"`(\w+)\$\{\w+\}(\w*)`", sources)  # t(`prompt${name}Text`)
    unused = [
        name for name in TEXTS["en"]
        if not re.search(rf"""['"]{name}['"]|\b{name}: """, sources)
        and not any(name.startswith(start) and name.endswith(end) for start, end in made)
    ]  # fmt: skip
    assert unused == []


@pytest.fixture(scope="module")
def tiny(server_factory, tiny_model_path):
    server = server_factory("--offline", model=tiny_model_path)
    yield server
    server.end()


@pytest.mark.parametrize(
    "locale, lang",
    [
        ("zh-SG", "zh-Hans"), ("zh-TW", "zh-Hant"), ("zh-HK", "zh-Hant"), ("de-AT", "de"),
        ("fr-CA", "fr"), ("ar-EG", "ar"), ("sv-SE", "en"),
    ],
)  # fmt: skip
def test_the_language_of_the_browser(tiny, open_page, locale, lang):
    page = open_page(tiny.base_url, locale=locale)
    page.wait_for_selector("#model:not(:empty)")
    assert page.evaluate("document.documentElement.lang") == lang
    assert page.evaluate("document.documentElement.dir") == ("rtl" if lang == "ar" else "ltr")
    assert page.locator("h2").first.inner_text() == TEXTS[lang]["greeting"]
    assert page.get_attribute("#send", "aria-label") == TEXTS[lang]["send"]


def test_choice_of_the_language(tiny, open_page):
    page = open_page(tiny.base_url, locale="en-GB")
    page.click("#open-settings")
    names = page.locator("#language option").all_inner_texts()
    assert names == ["As the browser says (English)", "简体中文", "繁體中文", "English", "Deutsch",
                     "Español", "Français", "日本語", "العربية"]  # fmt: skip
    page.select_option("#language", "ar")
    page.click("#settings .primary")
    page.wait_for_function("() => document.documentElement.dir === 'rtl'")
    page.reload()
    page.wait_for_selector("#model:not(:empty)")
    assert page.evaluate("document.documentElement.lang") == "ar", "the choice is kept"
    wide = "() => document.getElementById('scroller').scrollWidth > document.getElementById('scroller').clientWidth"
    assert not page.evaluate(wide)
    # mirrored: what begins a line in English is on the right
    send, box = (page.locator(name).bounding_box() for name in ("#send", "#message"))
    assert send["x"] < box["x"]
    page.click("#open-settings")
    page.select_option("#language", "")
    page.click("#settings .primary")
    page.wait_for_function("() => document.documentElement.lang === 'en'")


@pytest.mark.parametrize("language", ["fr", "ar"])
def test_long_words_fit_on_a_phone(tiny, open_page, language):
    page = open_page(tiny.base_url, locale=language, viewport={"width": 360, "height": 740})
    page.click("#open-settings")
    for summary in page.locator("#settings summary").all():
        summary.click()
    cut = """() => [...document.querySelectorAll('dialog[open] *')]
        .filter((e) => e.checkVisibility() && !e.matches('input, textarea, select'))
        .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
        .map((e) => e.outerHTML.slice(0, 120))"""
    assert page.evaluate(cut) == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


COUNTED = {
    "en": {0: "0 tokens", 1: "1 token", 2: "2 tokens", 1000000: "1,000,000 tokens"},
    "de": {0: "0 Tokens", 1: "1 Token", 1234: "1.234 Tokens"},
    "fr": {0: "0 token", 1: "1 token", 2: "2 tokens", 1000000: "1\u202f000\u202f000 de tokens"},
    "es": {1: "1 token", 2: "2 tokens"},
    "ja": {1: "1 トークン", 2: "2 トークン"},
    "zh-Hans": {1: "1 个词元"},
    "zh-Hant": {1: "1 個詞元"},
    "ar": {1: "رمز واحد", 2: "رمزان", 3: "3 رموز", 11: "11 رمزًا", 100: "100 رمز"},
}


def test_counted_words(tiny, open_page, modules):
    page = open_page(tiny.base_url)
    for language in LANGUAGES:
        known = f"new Intl.PluralRules('{language}').resolvedOptions().pluralCategories"
        assert set(page.evaluate(known)) == PLURALS.get(language, {"other"})
        page.evaluate("(language) => localStorage.setItem('kinglet.language', language)", language)
        page.reload()
        modules(page, "view/words.js", "base/i18n.js")
        words = page.evaluate("(counts) => counts.map((count) => m.t('tokens', { count }))", list(COUNTED[language]))
        assert words == list(COUNTED[language].values())
        if language == "en":  # the word agrees with the number as it is written
            stats = "(stats) => m.describeStats(stats)"
            assert page.evaluate(stats, {"tokens": 1, "rate": 1.04}) == ["1 token/s", "1 token"]
            assert page.evaluate(stats, {"tokens": 2, "rate": 1.1}) == ["1.1 tokens/s", "2 tokens"]

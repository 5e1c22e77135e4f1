"""Answers are read aloud by voices on the device, and by no others."""

from recorded_answers import stream_body

SPEECH = """(voices) => {
    const said = [];
    const listeners = [];
    class Utterance {
        constructor(text) { this.text = text; }
    }
    window.SpeechSynthesisUtterance = Utterance;
    const speech = {
        said,
        getVoices: () => voices,
        speak: (utterance) => said.push(utterance),
        cancel: () => { speech.cancelled = (speech.cancelled ?? 0) + 1; },
        addEventListener: () => {},
    };
    Object.defineProperty(window, 'speechSynthesis', { value: speech });
}"""
ANSWER = "It is **two**: \\(1 + 1\\).\n\n```python\nprint(2)\n```\n\n" + "A long sentence follows here. " * 20


def open_with(open_page, server, voices):
    page = open_page(server.base_url, locale="en-US")
    page.add_init_script(f"({SPEECH})({voices})")
    page.reload()
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(body=stream_body([ANSWER]), content_type="text/event-stream"),
    )
    page.fill("#message", "?")
    page.press("#message", "Enter")
    page.wait_for_selector(".message:last-child .again")
    return page


def test_no_voice_on_the_device(server, open_page):
    page = open_with(open_page, server, "[{ lang: 'en-US', localService: false }]")
    assert not page.locator(".speak").is_visible()


def test_reading(server, open_page):
    page = open_with(
        open_page, server,
        "[{ lang: 'en-GB', localService: false }, { lang: 'de-DE', localService: true }, "
        "{ lang: 'en-US', localService: true }]",
    )  # fmt: skip
    button = page.locator(".speak")
    said = "speechSynthesis.said.map(({ text, lang }) => [text, lang])"
    button.click()
    assert button.get_attribute("aria-label") == "Stop reading"
    pieces = page.evaluate(said)
    assert all(lang == "en-US" and len(text) <= 200 for text, lang in pieces)
    whole = "".join(text for text, _ in pieces)
    assert "It is two: 1 + 1." in whole and "print" not in whole and "*" not in whole
    page.evaluate("speechSynthesis.said.at(-1).onend()")
    assert button.get_attribute("aria-label") == "Read aloud"
    button.click()
    button.click()
    assert button.get_attribute("aria-label") == "Read aloud", "a second press stops"
    assert page.evaluate("speechSynthesis.cancelled") >= 2
    button.click()
    page.click("#new-chat")
    page.wait_for_function("() => speechSynthesis.cancelled >= 3", timeout=10_000)

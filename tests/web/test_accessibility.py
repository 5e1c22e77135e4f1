"""The page for those that use a keyboard, a screen reader, large text: axe-core finds nothing, and
everything can be reached.

Environment: NODE_PATH  where axe-core is installed; build/node/node_modules (`tests/clients/run --install
openai-node`).
"""

import os
from pathlib import Path

import pytest
from seeds import open_chat

BUILD = Path(os.environ.get("KINGLET_TEST_BUILD") or Path(__file__).resolve().parents[2] / "build")
PACKAGES = Path(os.environ.get("NODE_PATH") or BUILD / "node/node_modules")

ANSWER = """# Heading

Text with **bold**, `code` and a [link](https://example.org/).

```python
def greet(name):
    return f"Hello, {name}"
```

| name | value |
|------|------:|
| a    |     1 |

1. one
2. two

> quoted
"""
MESSAGES = [
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": ANSWER, "state": "complete",
     "stats": {"tokens": 80, "firstText": 0.4, "rate": 31.5}},
    {"role": "user", "content": "with a file",
     "files": [{"name": "data.csv", "text": "a,b\n1,2\n", "tokens": 8}]},
    {"role": "assistant", "content": "cut", "state": "length", "stats": {"tokens": 1}},
    {"role": "user", "content": "again"},
    {"role": "assistant", "content": "half an", "state": "failed"},
]  # fmt: skip


@pytest.fixture(scope="module")
def axe():
    return (PACKAGES / "axe-core/axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def tiny(server_factory, tiny_model_path):
    server = server_factory("--offline", model=tiny_model_path)
    yield server
    server.end()


@pytest.fixture
def violations(axe):
    """violations(page) -> texts: all that axe-core finds in the page as it is."""
    def find(page):
        page.evaluate("document.querySelector('#say').textContent = ''")
        if not page.evaluate("Boolean(window.axe)"):
            page.evaluate(axe)
        found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
        return [(v["id"], [(n["html"][:200], n["failureSummary"]) for n in v["nodes"]]) for v in found]
    return find


def open_settings(page):
    page.click("#open-settings")
    for summary in page.locator("#settings summary").all():
        summary.click()
    page.click("#add-prompt")


def add_files(page):
    page.set_input_files("#file-input", [
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"some notes"},
        {"name": "report.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"},
    ])  # fmt: skip
    page.wait_for_selector("#files-note:not([hidden])")


@pytest.mark.parametrize(
    "locale, scheme", [("zh-CN", "light"), ("ar", "dark"), ("en-GB", "light"), ("en-GB", "dark")]
)
def test_axe_finds_nothing(tiny, open_page, violations, locale, scheme):
    page = open_page(tiny.base_url, locale=locale, color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_selector("#model:not(:empty)")
    assert violations(page) == [], "welcome"
    add_files(page)
    page.fill("#message", "/")
    assert page.locator("#prompts [role=option]").count() == 4
    assert violations(page) == [], "files and prompts"
    page.fill("#message", "")
    open_settings(page)
    assert violations(page) == [], "settings"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_selector("#shortcuts[open]")
    assert violations(page) == [], "shortcuts"
    page.keyboard.press("Escape")
    open_chat(page, MESSAGES)
    page.click(".sent-file summary")
    assert violations(page) == [], "conversation"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_phone(start_server, open_page, violations, scheme):
    """The drawer, its menu and search, versions being edited, the dialog of the box, no connection."""
    server = start_server("--offline")
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page = open_page(server.base_url, color_scheme=scheme, reduced_motion="reduce", **phone)
    open_chat(page, MESSAGES, title="one")
    page.tap("#toggle-rail")
    page.wait_for_selector("#rail li .chat-menu")
    assert violations(page) == [], "drawer"
    page.tap("#rail li .chat-menu")
    page.wait_for_selector(".menu")
    assert violations(page) == [], "menu"
    page.keyboard.press("Escape")
    page.fill("#search", "question")
    page.wait_for_selector("#rail mark")
    assert violations(page) == [], "search"
    page.fill("#search", "")
    page.keyboard.press("Escape")
    page.wait_for_selector("#rail", state="hidden")
    page.tap("#model")
    page.wait_for_selector("dialog[open]")
    assert violations(page) == [], "box"
    page.keyboard.press("Escape")
    server.end()
    page.evaluate("dispatchEvent(new Event('online'))")  # it looks at once
    page.wait_for_selector("#connection:not([hidden])")
    assert violations(page) == [], "offline"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_a_key_is_asked_for(
    server_factory, tiny_model_path, open_page, violations, tmp_path, scheme
):
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    keys.chmod(0o600)
    server = server_factory("--offline", "--api-key-file", str(keys), model=tiny_model_path)
    page = open_page(server.base_url, color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_selector("#key-dialog[open]")
    assert violations(page) == []
    server.end()


def focused(page):
    return page.evaluate(
        """() => {
            const { activeElement: e } = document;
            return e.id || e.className || e.tagName;
        }"""
    )


def start_at_the_top(page):
    page.evaluate("document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')")


def tab(page):
    page.keyboard.press("Tab")
    return focused(page)


def test_skip_link_and_order(tiny, open_page):
    page = open_page(tiny.base_url, locale="en-GB")
    start_at_the_top(page)
    assert tab(page) == "skip"
    assert page.locator(".skip").evaluate("(e) => e.getBoundingClientRect().top >= 0")
    page.keyboard.press("Enter")
    assert focused(page) == "message"
    assert page.evaluate("location.hash") == "", "the address names a chat"
    order = [tab(page), tab(page)]
    assert order[0] == "add-file", order


def test_everything_is_reached_by_keyboard(tiny, open_page):
    page = open_page(tiny.base_url, locale="en-GB")
    page.wait_for_selector("#model:not(:empty)")
    open_chat(page, MESSAGES)
    start_at_the_top(page)
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        node = page.evaluate(
            """() => {
                const { activeElement: e } = document;
                const box = e.getBoundingClientRect();
                const style = getComputedStyle(e);
                return { id: [...document.querySelectorAll('*')].indexOf(e), isBody: e === document.body,
                         isSeen: box.width > 0 && box.height > 0 && box.top < innerHeight && box.bottom > 0,
                         isMarked: style.outlineStyle !== 'none' || e.matches('input, textarea'),
                         html: e.outerHTML.slice(0, 90) };
            }"""
        )
        if node["isBody"] or node["id"] in seen:
            break
        assert node["isSeen"] and node["isMarked"], str(node)
        seen.append(node["id"])
    reachable = page.evaluate(
        """() => [...document.querySelectorAll('*')].map((e, i) => [e, i])
            .filter(([e]) => e.matches('a[href], button:not(:disabled), textarea, summary, [tabindex="0"]'))
            .filter(([e]) => e.checkVisibility({ checkVisibilityCSS: true }))
            .map(([e, i]) => [i, e.outerHTML.slice(0, 90)])"""
    )
    assert [html for i, html in reachable if i not in seen] == []


def test_prompts_by_keyboard(tiny, open_page):
    page = open_page(tiny.base_url, locale="en-GB")
    box = page.locator("#message")
    box.press("/")
    options = page.locator("#prompts [role=option]")
    assert options.count() == 4
    assert page.get_attribute("#message", "aria-activedescendant") == "prompt-0"
    box.press("ArrowDown")
    assert page.get_attribute("#message", "aria-activedescendant") == "prompt-1"
    assert options.nth(1).get_attribute("aria-selected") == "true"
    box.press("ArrowUp")
    box.press("ArrowUp")
    assert page.get_attribute("#message", "aria-activedescendant") == "prompt-3"
    box.press_sequentially("sum")
    assert options.count() == 1
    box.press("Enter")
    assert box.input_value() == "Summarise the following text in a few sentences.\n\n"
    assert focused(page) == "message"
    assert page.locator(".message").count() == 0, "Enter chose, and sent nothing"
    box.fill("")
    box.press("/")
    box.press("Escape")
    assert not page.locator("#prompts").is_visible() and box.input_value() == "/"
    box.press("x")
    assert not page.locator("#prompts").is_visible()


def test_shortcuts(tiny, open_page):
    page = open_page(tiny.base_url, locale="en-GB", permissions=["clipboard-read", "clipboard-write"])
    open_chat(page, MESSAGES)
    page.press("#message", "?")
    assert page.input_value("#message") == "?", "a sign that is written is no shortcut"
    page.fill("#message", "")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert focused(page) == "message" and page.input_value("#message") == ""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.locator("#shortcuts").is_visible()
    assert page.locator("#shortcuts-list dt").count() >= 8
    page.keyboard.press("Escape")
    page.keyboard.press("Control+,")
    assert page.locator("#settings").is_visible()
    page.keyboard.press("Control+Shift+O")
    assert page.locator(".message").count() > 0, "a dialog has the keyboard for itself"
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+C")
    page.wait_for_function("() => document.getElementById('say').textContent !== ''")
    assert page.evaluate("navigator.clipboard.readText()") == "half an"
    page.keyboard.press("Control+Shift+O")
    page.wait_for_selector("#welcome")
    assert page.locator(".message").count() == 0 and focused(page) == "message"


def test_single_keys_can_be_switched_off(tiny, open_page):
    """WCAG 2.1.4: a voice or an unsteady hand types "/" and "?" unmeant."""
    page = open_page(tiny.base_url, locale="en-GB")

    def press(keys):
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press(keys)

    page.click("#open-settings")
    switch = page.get_by_role("switch", name="Shortcuts of a single key")
    assert switch.is_checked()
    switch.uncheck()
    page.click("#settings .primary")
    for _ in range(2):
        press("?")
        press("/")
        assert focused(page) != "message" and not page.locator("#shortcuts").is_visible()
        page.reload()
        page.wait_for_selector("#send[data-action]")
    press("Control+,")
    assert not switch.is_checked(), "it is kept"
    page.click("#open-shortcuts")
    assert "?" not in page.locator("#shortcuts-list kbd").all_inner_texts(), "what does nothing is not listed"
    page.keyboard.press("Escape")
    press("Control+,")
    switch.check()
    page.click("#settings .primary")
    press("?")
    assert page.locator("#shortcuts").is_visible()


@pytest.mark.parametrize("locale", ["ar", "de"])
def test_page_enlarged_to_400_percent(tiny, open_page, locale):
    """1280 x 1024 enlarged to 400 % is 320 x 256."""
    page = open_page(tiny.base_url, locale=locale, viewport={"width": 320, "height": 256})
    open_chat(page, MESSAGES)
    wide = "document.scrollingElement.scrollWidth > innerWidth || scroller.scrollWidth > scroller.clientWidth"
    assert not page.evaluate(wide)
    page.evaluate("scroller.scrollTop = scroller.scrollHeight")
    top = page.evaluate("document.querySelector('header').getBoundingClientRect().bottom")
    assert top <= 0, "the header scrolls away"
    assert page.locator("#scroller").bounding_box()["height"] >= 128, "half of it is for reading"
    page.evaluate("scroller.scrollTop = 0")
    page.click("#open-settings")
    assert not page.evaluate("settings.scrollWidth > settings.clientWidth")
    page.locator("#settings .primary").scroll_into_view_if_needed()
    assert page.locator("#settings .primary").is_visible()


def test_touch(tiny, open_page):
    """On a screen keyboard Enter is a new line, and everything is large enough for a finger."""
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page = open_page(tiny.base_url, {"maxTokens": 4}, locale="en-GB", **phone)
    box = page.locator("#message")
    box.press_sequentially("one")
    box.press("Enter")
    box.press_sequentially("two")
    assert box.input_value() == "one\ntwo"
    assert page.locator(".message").count() == 0
    assert box.evaluate("(e) => e.enterKeyHint") == "enter"
    add_files(page)
    page.locator("#open-settings").tap()
    small = """() => [...document.querySelectorAll('button, select, input, summary')]
        .filter((e) => e.checkVisibility() && !e.matches('[type=range], [type=radio], .quiet, [role=switch]'))
        .filter((e) => Math.min(e.getBoundingClientRect().height, e.getBoundingClientRect().width) < 39.5)
        .map((e) => e.outerHTML)"""
    assert page.evaluate(small) == []
    page.locator("#settings .close").tap()
    page.locator("#send").tap()
    page.wait_for_selector(".bubble")
    assert page.inner_text(".bubble") == "one\ntwo"


def test_enter_while_an_answer_is_written(tiny, open_page):
    page = open_page(tiny.base_url, {"maxTokens": 4000, "loopGuard": False}, locale="en-GB")
    page.route("**/v1/chat/completions", lambda route: None)  # it takes long
    page.fill("#message", "first")
    page.press("#message", "Enter")
    page.wait_for_selector("#send[data-action=stop]")
    page.fill("#message", "second")
    page.press("#message", "Enter")
    assert page.input_value("#message") == "second", "the text stays"
    assert "still being written" in page.inner_text("#hint")
    assert "still being written" in page.inner_text("#say")
    assert page.locator(".message.user").count() == 1

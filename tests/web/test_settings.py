"""Settings of a chat and of new chats, whose defaults are the model's; prompts at hand."""

import pytest


@pytest.fixture(scope="module")
def advised(server_factory, make_tiny_model):
    """A model whose file says how to sample it."""
    model = make_tiny_model("--sampling", "0.3", "0.95", "64", "1.05")
    server = server_factory("--offline", model=model)
    yield server
    server.end()


@pytest.fixture
def page(advised, open_page):
    page = open_page(advised.base_url, locale="en-GB")
    page.wait_for_selector("#model:not(:empty)")
    page.wait_for_function("() => localStorage.getItem('kinglet.model') !== null")
    return page


def open_settings(page):
    page.click("#open-settings")
    if not page.evaluate("document.querySelector('#settings details').open"):
        page.locator("#settings summary").first.click()


def save(page):
    page.click("#settings .primary")
    page.wait_for_selector("#settings", state="hidden")


def shown(page):
    names = ["temperature", "max-tokens", "top-p", "top-k", "repetition-penalty", "system"]
    return {name: page.input_value("#" + name) for name in names}


def ask(page, text="Hello"):
    """Returns the body of the request."""
    with page.expect_request("**/v1/chat/completions") as request:
        page.fill("#message", text)
        page.press("#message", "Enter")
    page.wait_for_selector(".message:last-child .again")
    return request.value.post_data_json


DEFAULTS = {
    "temperature": "0.3", "max-tokens": "1024", "top-p": "0.95", "top-k": "64",
    "repetition-penalty": "1.05", "system": "",
}  # fmt: skip


def test_opened_before_the_model_is_known(advised, open_page):
    """Nothing is taken for the user's choice, and what the user has changed stays."""
    page = open_page(advised.base_url, locale="en-GB")
    page.evaluate("localStorage.clear()")
    held = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.reload()
    open_settings(page)
    assert page.is_disabled("#temperature") and shown(page)["top-k"] == ""
    save(page)
    open_settings(page)
    page.fill("#max-tokens", "20")
    page.fill("#top-k", "9")
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    page.wait_for_selector("#temperature:enabled")
    assert shown(page) == {**DEFAULTS, "max-tokens": "20", "top-k": "9"}
    save(page)
    stored = page.evaluate("JSON.parse(localStorage.getItem('kinglet.settings'))")
    assert stored == {"maxTokens": 20, "topK": 9}


def test_defaults_are_those_of_the_model(page):
    open_settings(page)
    assert shown(page) == DEFAULTS
    assert page.is_checked("#loop-guard")
    page.keyboard.press("Escape")
    body = ask(page)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k", "repetition_penalty")} == {
        "temperature": 0.3, "top_p": 0.95, "top_k": 64, "repetition_penalty": 1.05,
    }  # fmt: skip
    assert (body["max_tokens"], body["loop_guard"]) == (1024, "on")
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


def test_settings_of_new_chats_and_of_this_chat(page):
    open_settings(page)
    assert page.is_checked("#scope-all"), "an empty page: what new chats have"
    page.fill("#system", "Be brief.")
    page.fill("#top-k", "5")
    page.uncheck("#loop-guard")
    save(page)
    body = ask(page)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["top_k"], body["top_p"], body["loop_guard"]) == (5, 0.95, "off")

    # this chat has its own from now on
    open_settings(page)
    assert page.is_checked("#scope-chat")
    page.fill("#system", "Be long.")
    page.locator("#temperature").fill("1")
    save(page)
    body = ask(page)
    assert body["messages"][0]["content"] == "Be long." and body["temperature"] == 1
    assert body["top_k"] == 5
    first = page.evaluate("location.hash")

    # new chats have theirs
    page.click("#new-chat")
    body = ask(page)
    assert body["messages"][0]["content"] == "Be brief." and body["temperature"] == 0.3

    # changing those of new chats changes no chat that has begun
    open_settings(page)
    page.check("#scope-all")
    assert page.input_value("#system") == "Be brief."
    page.click("#reset-settings")
    assert shown(page) == DEFAULTS
    save(page)
    assert ask(page)["messages"][0]["content"] == "Be brief."
    page.click("#new-chat")
    body = ask(page)
    assert body["messages"][0]["role"] == "user" and body["top_k"] == 64

    page.evaluate("(hash) => { location.hash = hash; }", first)
    page.wait_for_function("() => document.querySelectorAll('.message.user').length === 2")
    page.reload()
    page.wait_for_selector(".message")
    body = ask(page)
    assert body["messages"][0]["content"] == "Be long." and body["temperature"] == 1


def test_defaults_for_this_chat_only(page):
    """A chat can have the model's defaults although new chats have others."""
    open_settings(page)
    page.fill("#system", "Be brief.")
    save(page)
    open_settings(page)
    page.check("#scope-chat")
    assert page.input_value("#system") == "Be brief."
    page.click("#reset-settings")
    save(page)
    assert ask(page)["messages"][0]["role"] == "user"


def test_senseless_values_are_refused(page):
    open_settings(page)
    page.locator("#settings summary").first.click()
    page.evaluate("document.getElementById('top-p').value = '7'")
    page.click("#settings .primary")
    assert page.is_visible("#settings") and page.is_visible("#top-p"), "the field is shown"
    page.fill("#top-p", "")
    save(page)
    assert ask(page)["top_p"] == 0.95, "an empty field is the default"


def test_storage_may_hold_anything(page):
    for stored in ("null", "7", '"x"', "[]", '{"temperature":"hot","topK":-1,"system":{}}', "{"):
        page.evaluate(
            """(text) => ['settings', 'model', 'prompts', 'language'].forEach((name) => {
                localStorage.setItem('kinglet.' + name, text);
            })""",
            stored,
        )
        page.reload()
        page.wait_for_function("() => localStorage.getItem('kinglet.model')?.includes('0.95')")
        open_settings(page)
        assert shown(page) == DEFAULTS


def test_own_prompts(page):
    open_settings(page)
    page.locator("#own-prompts summary").click()
    page.click("#add-prompt")
    page.fill(".own-prompt input", "Poem")
    page.fill(".own-prompt textarea", "Write a poem about ")
    page.click("#add-prompt")  # incomplete: it is not kept
    save(page)
    page.reload()
    page.wait_for_selector("#model:not(:empty)")
    page.press("#message", "/")
    assert page.locator("#prompts .prompt-name").all_inner_texts()[0] == "Poem"
    page.locator("#prompts [role=option]").first.click()
    assert page.input_value("#message") == "Write a poem about "
    assert page.evaluate("document.activeElement.id") == "message"
    page.fill("#message", "")

    open_settings(page)
    page.locator("#own-prompts summary").click()
    assert page.locator(".own-prompt").count() == 1
    page.get_by_role("button", name="Remove the prompt").click()
    assert page.evaluate("document.activeElement.id") == "add-prompt"
    save(page)
    page.press("#message", "/")
    assert page.locator("#prompts [role=option]").count() == 4


def test_a_slash_elsewhere_is_a_slash(page):
    page.fill("#message", "a/b")
    assert not page.is_visible("#prompts")
    page.fill("#message", "/etc/passwd is what?")
    assert not page.is_visible("#prompts")
    page.fill("#message", "/zzz")
    assert not page.is_visible("#prompts")

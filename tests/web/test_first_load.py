"""The first visit is light: few requests, few bytes. Answers load more only when they need it."""

import json

import pytest
from recorded_answers import ANSWERS, pieces_of, stream_body

MAX_REQUESTS = 5
MAX_BYTES = 110 * 1024
API = ("/v1/", "/health", "/api/", "/tokenize", "/props")


def watch(page):
    """Returns a list that gets (path, bytes of the body as they were sent) of what the page loads."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    loaded, paths = [], {}

    def responded(event):
        paths[event["requestId"]] = event["response"]["url"].split("/", 3)[3]

    def finished(event):
        path = "/" + paths.get(event["requestId"], "")
        if not path.startswith(API) and not path.startswith("/data:"):
            loaded.append((path, event["encodedDataLength"]))

    session.on("Network.responseReceived", responded)
    session.on("Network.loadingFinished", finished)
    return loaded


@pytest.mark.parametrize("locale", ["en-US", "zh-CN", "ar"])
def test_the_first_load(server, browser, locale):
    context = browser.new_context(locale=locale)
    page = context.new_page()
    loaded = watch(page)
    page.goto(server.base_url)
    page.wait_for_selector("#send[data-action]")
    page.wait_for_load_state("networkidle")
    assert len(loaded) <= MAX_REQUESTS, loaded
    assert sum(size for _, size in loaded) <= MAX_BYTES, loaded
    assert not [path for path, _ in loaded if "katex" in path or "highlight" in path], loaded
    context.close()


@pytest.mark.parametrize("kind, library", [("code", "highlight"), ("mixed", "katex")])
def test_libraries_are_loaded_when_they_are_needed(server, open_page, kind, library):
    page = open_page(server.base_url)
    loaded = watch(page)
    body = ""
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(body=body, content_type="text/event-stream"),
    )
    for text, expected in (("No formula, no code: it costs $5.", 0), (ANSWERS[kind], 1)):
        body = stream_body(pieces_of(text, 200))
        page.fill("#message", "?")
        page.press("#message", "Enter")
        page.wait_for_selector(".message:last-child .again")
        if expected:
            page.wait_for_selector(".prose math" if library == "katex" else ".prose .hljs-keyword")
        assert sum(library in path for path, _ in loaded) == expected, json.dumps(loaded)

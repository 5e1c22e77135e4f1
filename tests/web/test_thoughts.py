"""Other things that models write: thoughts, calls of tools, JSON; folded, and readable."""

import json
import re

import pytest


def answer(page, deltas):
    """Asks a question that is answered by these deltas."""
    events = [{"choices": [{"delta": delta}]} for delta in deltas]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(body=body, content_type="text/event-stream"),
    )
    page.fill("#message", "?")
    page.press("#message", "Enter")
    page.wait_for_selector(".message:last-child .again")


def text(content):
    return [{"content": piece} for piece in re.findall(r".{1,5}", content, re.DOTALL)]


@pytest.mark.parametrize(
    "deltas",
    [
        text("<think>\nIs it *one*? No.\n</think>\n\nIt is **two**."),
        [{"reasoning_content": "Is it *one*? "}, {"reasoning_content": "No."}, {"content": "It is **two**."}],
    ],
    ids=["in the text", "in a field"],
)
def test_a_thought_is_folded(server, open_page, deltas):
    page = open_page(server.base_url, locale="en-US")
    answer(page, deltas)
    for _ in range(2):
        page.wait_for_selector(".thought")
        assert re.fullmatch(r"Thought for \d+ s", page.inner_text(".thought summary"))
        assert not page.evaluate("document.querySelector('.thought').open")
        assert page.locator(".answer-text > .prose strong").inner_text() == "two"
        assert "think" not in page.locator(".answer-text > .prose").inner_text()
        page.click(".thought summary")
        assert page.locator(".thought em").inner_text() == "one"
        page.wait_for_timeout(1200)  # the answer is saved within a second
        page.reload()


def test_a_thought_is_open_while_it_lasts(server, browser, modules):
    page = browser.new_page(service_workers="block")
    page.goto(server.base_url)
    modules(page, "view/answer_text.js")
    states = page.evaluate(
        """() => {
            const message = { content: '', state: 'writing' };
            const view = new window.m.AnswerText(message);
            const states = [];
            for (const piece of ['<th', 'ink>', 'Hm', 'm', '</think>', 'Yes']) {
                message.content += piece;
                view.grow();
                const thought = view.element.querySelector('.thought');
                states.push([thought?.open ?? null, view.element.lastElementChild.textContent]);
            }
            return states;
        }"""
    )
    page.close()
    assert states == [[None, ""], [None, ""], [True, ""], [True, ""], [False, ""], [False, "Yes"]]


def test_calls_and_json(server, open_page):
    page = open_page(server.base_url, locale="en-US")
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Hangzhou"}}\n</tool_call>'
    answer(page, text(f"I look it up.\n{call}"))
    assert page.inner_text(".call summary") == "Calls weather"
    page.click(".call summary")
    assert '"city": "Hangzhou"' in page.inner_text(".call code")
    assert "tool_call" not in page.inner_text(".answer")

    answer(page, text('{"name": "Ada", "born": 1815, "fields": ["mathematics", "computing"]}'))
    last = page.locator(".message:last-child")
    assert last.locator(".json summary").inner_text() == "JSON, 8 lines"
    assert '"born": 1815,\n' in last.locator(".json code").inner_text()

    answer(page, text('{"not": closed'))
    assert '{"not": closed' in page.locator(".message:last-child .prose").inner_text()


def test_the_switch_is_there_where_the_model_can_think(server, open_page):
    page = open_page(server.base_url, locale="en-US")
    page.click("#open-settings")
    assert not page.locator("#thinking").is_visible()
    models = {"data": [{"id": "m", "meta": {"n_ctx": 4096, "thinking": True}}]}
    page.route("**/v1/models", lambda route: route.fulfill(json=models))
    page.reload()
    page.wait_for_load_state("networkidle")
    page.click("#open-settings")
    page.locator("#thinking").uncheck()
    page.locator("#settings [type=submit]").click()
    with page.expect_request("**/v1/chat/completions") as request:
        answer(page, text("Hello"))
    assert request.value.post_data_json["chat_template_kwargs"] == {"enable_thinking": False}

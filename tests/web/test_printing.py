"""A chat on paper: all of it, over several pages, without the page around it."""

import re

from recorded_answers import seed_chat

MESSAGES = 30


def pages_of(pdf):
    """Counts the pages of a PDF of Chromium's, which compresses its streams."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def test_a_chat_prints_on_several_pages(server, open_page):
    page = open_page(server.base_url, locale="en-US", viewport={"width": 1100, "height": 700})
    chat = seed_chat(page, MESSAGES, length=900)
    page.goto(f"{server.base_url}/#c={chat}")
    page.reload()
    page.wait_for_selector(".message:last-child .again")
    pdf = page.pdf(format="A4")
    assert 5 <= pages_of(pdf) <= 40, pages_of(pdf)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown = page.locator("#log").inner_text()
    for i in range(0, MESSAGES, 2):
        assert f"Question {i}" in shown
    visible = page.evaluate(
        """() => [...document.querySelectorAll('button, textarea, input, header, aside')]
            .filter((element) => element.checkVisibility()).map((element) => element.outerHTML)"""
    )
    assert visible == []
    clipped = page.evaluate(
        "[...document.querySelectorAll('#scroller, main, .code pre')].filter((e) => "
        "e.scrollHeight > e.clientHeight + 1 && getComputedStyle(e).overflowY !== 'visible').length"
    )
    assert clipped == 0

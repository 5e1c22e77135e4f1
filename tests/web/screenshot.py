#!/usr/bin/env python3
"""Takes the README's screenshot of the page (docs/page.png) from a running server.

    tests/web/screenshot.py [URL [FILE]]
"""

import json
import sys

from conftest import CHROMIUM, CHROMIUM_OPTIONS, TIMEOUT_MS
from playwright.sync_api import sync_playwright

QUESTION = "写一个 Python 生成器，产生斐波那契数列的前 n 项。"
MAX_HEIGHT = 960
SETTINGS = {"temperature": 0, "maxTokens": 400, "system": ""}


def main(url="http://127.0.0.1:7860", file="docs/page.png"):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = browser.new_page(
            viewport={"width": 1120, "height": 600}, device_scale_factor=1.5, locale="zh-CN"
        )
        page.set_default_timeout(TIMEOUT_MS)
        stored = json.dumps(json.dumps(SETTINGS))
        page.add_init_script(f"localStorage.setItem('kinglet.settings', {stored})")
        page.goto(url)
        page.wait_for_selector("#model:not(:empty)")
        page.fill("#message", QUESTION)
        page.press("#message", "Enter")
        page.wait_for_selector(".answer .stats")
        hidden = page.evaluate(
            "(view => view.scrollHeight - view.clientHeight)(document.getElementById('scroller'))"
        )
        height = min(page.viewport_size["height"] + hidden, MAX_HEIGHT)
        page.set_viewport_size({"width": 1120, "height": height})
        page.evaluate("document.getElementById('scroller').scrollTop = 0")
        page.wait_for_timeout(500)  # for transitions
        page.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Takes the README's pictures of the page from a running server: docs/page.png (with the rail of chats),
page-phone.png and page-dark.png.

    tests/web/screenshot.py [URL [DIRECTORY]]
"""

import json
import sys
from pathlib import Path

from conftest import CHROMIUM, CHROMIUM_OPTIONS, TIMEOUT_MS
from playwright.sync_api import sync_playwright

EARLIER = ("Plan a three-day trip to Hangzhou", "翻译成英文：今天的风很温柔。", "What does HTTP 503 mean?")
QUESTION = "Write a Python generator of the first n Fibonacci numbers."
FORMULA = "Solve x^2 - 5x + 6 = 0 step by step. Write the formulas in LaTeX between \\( and \\)."
SETTINGS = {"temperature": 0, "maxTokens": 300, "system": ""}
LARGE = {"viewport": {"width": 1180, "height": 760}, "device_scale_factor": 1.5}
PHONE = {
    "viewport": {"width": 390, "height": 800}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True,
}  # fmt: skip


def ask(page, text):
    page.fill("#message", text)
    page.locator("#send").click()
    page.wait_for_selector(".message:last-child .again")


def take(browser, url, file, questions, **options):
    page = browser.new_page(locale="en-US", **options)
    page.set_default_timeout(TIMEOUT_MS)
    stored = json.dumps(json.dumps(SETTINGS))
    page.add_init_script(f"localStorage.setItem('kinglet.settings', {stored})")
    page.goto(url)
    for number, question in enumerate(questions):
        if number > 0:
            page.locator("#new-chat").click()
        ask(page, question)
    page.evaluate("document.getElementById('scroller').scrollTop = 0")
    page.mouse.move(0, 0)
    page.wait_for_timeout(800)  # for transitions
    page.screenshot(path=file)
    page.close()


def main(url="http://127.0.0.1:7860", directory="docs"):
    place = Path(directory)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        take(browser, url, place / "page.png", [*EARLIER, QUESTION], **LARGE)
        take(browser, url, place / "page-phone.png", [QUESTION], **PHONE)
        take(browser, url, place / "page-dark.png", [FORMULA], color_scheme="dark", **LARGE)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

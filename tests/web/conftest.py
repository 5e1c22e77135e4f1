"""A browser for the page's tests: Debian's Chromium, driven by Playwright."""

import json

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
# not a loopback name: its pages are not a "secure context", like plain http in a LAN
LAN_HOST = "kinglet.test"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {LAN_HOST} 127.0.0.1",
]
TIMEOUT_MS = 180_000  # an answer of the real model on a busy machine


@pytest.fixture(scope="session")
def chromium():
    """The launcher of browsers, of which a process can have only one."""
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def browser(chromium):
    browser = chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser):
    """open_page(url, settings=None, **context options) -> Page. settings: as the settings dialog
    keeps them. After the test, no page may have had an error that its script did not catch."""
    contexts, errors = [], []

    def open_(url, settings=None, **options):
        options = {"locale": "zh-CN", "viewport": {"width": 1100, "height": 800}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        if settings is not None:
            stored = json.dumps(json.dumps(settings))
            context.add_init_script(f"localStorage.setItem('kinglet.settings', {stored})")
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#send")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not errors, errors

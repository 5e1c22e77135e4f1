"""A browser for the page's tests: Debian's Chromium, driven by Playwright."""

import json
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

WEB = Path(__file__).resolve().parents[2] / "web"
sys.path.insert(0, str(WEB))
import embed  # noqa: E402

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
        # a service worker would hide requests from tests that watch them; test_install.py has one
        usual = {"locale": "zh-CN", "viewport": {"width": 1100, "height": 800}}
        options = {**usual, "service_workers": "block", **options}
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        if settings is not None:
            stored = json.dumps(json.dumps(settings))
            context.add_init_script(f"localStorage.setItem('kinglet.settings', {stored})")
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#send[data-action]")  # the page is ready
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture(scope="session")
def modules(tmp_path_factory):
    """modules(page, "markdown/markdown.js", ...): makes window.m of the page an object of all exports of
    these modules, bundled as the page's own scripts are. Their texts are loaded."""
    made = {}

    def modules_(page, *paths):
        if paths not in made:
            directory = tmp_path_factory.mktemp("modules")
            lines = [f"export * from {json.dumps(str(WEB / path))};" for path in paths]
            lines.append(f"import {{ loadLanguage }} from {json.dumps(str(WEB / 'base/i18n.js'))};")
            lines.append("await loadLanguage();")
            (directory / "entry.js").write_text("\n".join(lines))
            embed.bundle([directory / "entry.js"], directory / "bundled")
            made[paths] = directory / "bundled"
        page.route(
            "**/modules-of-tests/*",
            lambda route: route.fulfill(path=made[paths] / route.request.url.rsplit("/", 1)[1]),
        )
        page.evaluate("async () => { window.m = await import('/modules-of-tests/entry.js'); }")

    return modules_

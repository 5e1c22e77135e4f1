"""The page in a browser with a real server, used like by a visitor."""

import base64
import gzip
import hashlib
import json
import re
import time
import urllib.error
import urllib.request

import pytest
from conftest import LAN_HOST, TIMEOUT_MS, WEB
from conversation import ask, wait_for_answer, wait_for_text
from playwright.sync_api import expect

# makes the model's answer reproducible
GREEDY = {"temperature": 0, "maxTokens": 400, "system": ""}
LONG_QUESTION = "写一篇一千字的文章，介绍杭州的历史、景点、美食和文化，分很多段。"
CHINESE = re.compile(r"[\u4e00-\u9fff]")

# records each change of the length of the conversation's text
RECORD_GROWTH = """() => {
    window.lengths = [];
    new MutationObserver(() => {
        const length = document.querySelector('.answer .prose')?.textContent.length ?? 0;
        if (length !== window.lengths.at(-1)) window.lengths.push(length);
    }).observe(document.getElementById('log'), { childList: true, subtree: true });
}"""


def health(server):
    with urllib.request.urlopen(server.base_url + "/health", timeout=30) as response:
        return json.load(response)


def wait_until_idle(server):
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while health(server)["running"] != 0:
        assert time.monotonic() < deadline, "the server still computes an abandoned answer"
        time.sleep(0.05)


def test_a_chinese_answer_grows(server, open_page):
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 200})
    page.evaluate(RECORD_GROWTH)
    ask(page, "请用三句话介绍一下杭州西湖。")
    wait_for_answer(page)
    lengths = page.evaluate("window.lengths")
    assert len(lengths) >= 5, "the answer was shown in few large pieces"
    assert lengths == sorted(lengths)
    answer = page.locator(".answer .prose").inner_text()
    assert len(CHINESE.findall(answer)) >= 10, answer
    assert "\ufffd" not in answer
    assert re.search(r"\d 词元/秒 · [\d.]+ 秒后出字 · \d+ 个词元", page.inner_text(".answer .stats"))
    assert CHINESE.search(page.inner_text("#say"))
    assert page.inner_text("#model").startswith("qwen2.5")


def test_stop_frees_the_server(server, open_page):
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 2000})
    ask(page, LONG_QUESTION)
    wait_for_text(page, 20)
    assert health(server)["running"] == 1
    stop = page.get_by_role("button", name="停止", exact=True)
    stop.click()
    wait_for_answer(page)
    wait_until_idle(server)
    stopped = page.inner_text(".answer .prose")
    assert len(stopped) >= 20
    assert "已停止" in page.inner_text(".answer .foot")
    assert page.get_by_role("button", name="发送", exact=True).is_visible()

    # the conversation continues, and Escape stops as well
    ask(page, LONG_QUESTION)
    wait_for_text(page, 5)
    page.keyboard.press("Escape")
    wait_for_answer(page)
    wait_until_idle(server)
    assert page.locator(".message").count() == 4
    assert page.locator(".answer .prose").first.inner_text() == stopped


def test_conversation_is_kept_and_cleared(server, open_page):
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 16})
    page.locator("#examples button").nth(1).click()
    wait_for_answer(page)
    ask(page, "谢谢")
    wait_for_answer(page)
    before = page.locator(".message").all_inner_texts()
    assert len(before) == 4
    page.reload()
    page.wait_for_selector(".message:last-child .again")
    assert page.locator(".message").all_inner_texts() == before

    page.locator(".answer .again").last.click()
    wait_for_answer(page)
    assert page.locator(".message").count() == 4

    page.locator("#new-chat").click()
    assert page.locator(".message").count() == 0
    assert page.locator("#welcome").is_visible()
    assert page.evaluate("document.activeElement.id") == "message"
    page.reload()
    page.wait_for_selector("#welcome")


def code_answer(page):
    ask(page, "Write a Python function that checks whether a word is a palindrome.")
    page.wait_for_selector(".code pre code")
    wait_for_answer(page)
    return page.locator(".code").first


def test_code_and_message_are_copied(server, open_page):
    page = open_page(server.base_url, GREEDY, permissions=["clipboard-read", "clipboard-write"])
    code = code_answer(page)
    assert "def " in code.locator("pre").inner_text()
    assert page.locator(".hljs-keyword").count() > 0
    code.get_by_role("button", name="复制代码").click()
    page.wait_for_selector(".code .icon-check")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == code.locator("code").text_content().removesuffix("\n")
    page.get_by_role("button", name="复制消息").last.click()
    page.wait_for_selector(".answer .foot .icon-check")
    assert "```" in page.evaluate("navigator.clipboard.readText()")


def test_on_plain_http_in_a_lan(start_server, model_path, open_page):
    """There is no clipboard API there, and no crypto.randomUUID."""
    server = start_server("--allow-host", LAN_HOST, model=model_path)
    page = open_page(f"http://{LAN_HOST}:{server.port}", GREEDY)
    assert page.evaluate("[isSecureContext, 'clipboard' in navigator, 'randomUUID' in crypto]") == [
        False, False, False,
    ]
    code = code_answer(page)
    text = code.locator("code").text_content().removesuffix("\n")
    code.get_by_role("button", name="复制代码").click()
    page.wait_for_selector(".code .icon-check")
    page.fill("#message", "")
    page.press("#message", "Control+v")
    assert page.input_value("#message") == text


def test_keyboard_and_input_method(server, open_page):
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 8})
    message = page.locator("#message")
    assert page.evaluate("document.activeElement.id") == "message"
    assert page.locator("#send").is_disabled()
    message.press("Enter")
    assert page.locator(".message").count() == 0, "an empty question was sent"

    page.keyboard.type("a")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("b")
    assert message.input_value() == "a\nb"
    message.fill("")

    # Pinyin that is being composed: Enter accepts it and must not send
    session = page.context.new_cdp_session(page)
    compose = {"text": "nihao", "selectionStart": 5, "selectionEnd": 5}
    session.send("Input.imeSetComposition", compose)
    assert message.input_value() == "nihao"
    message.press("Enter")
    assert page.locator(".message").count() == 0, "Enter in an input method sent the message"
    message.fill("")
    message.evaluate(
        """(element) => {
            element.value = '你好';
            element.dispatchEvent(new Event('input'));
            const key = { key: 'Enter', bubbles: true, cancelable: true };
            element.dispatchEvent(new KeyboardEvent('keydown', { ...key, isComposing: true }));
            element.dispatchEvent(new KeyboardEvent('keydown', { ...key, keyCode: 229 }));
        }"""
    )
    assert page.locator(".message").count() == 0, "Enter in an input method sent the message"

    message.press("Enter")
    assert page.inner_text(".bubble") == "你好"
    wait_for_answer(page)
    assert page.evaluate("document.activeElement.id") == "message"


def test_scrolling_is_left_to_the_reader(server, open_page):
    page = open_page(
        server.base_url, {**GREEDY, "maxTokens": 2000}, viewport={"width": 800, "height": 400}
    )
    distance = """() => {
        const view = document.getElementById('scroller');
        return view.scrollHeight - view.clientHeight - view.scrollTop;
    }"""
    ask(page, LONG_QUESTION)
    page.wait_for_function(
        "() => { const v = document.getElementById('scroller'); return v.scrollTop > 150; }"
    )
    assert page.evaluate(distance) <= 1, "the view follows the text"
    page.mouse.move(400, 150)
    page.mouse.wheel(0, -120)
    page.wait_for_selector("#to-latest", state="visible")
    top = page.evaluate("document.getElementById('scroller').scrollTop")
    length = page.evaluate("document.querySelector('.prose').textContent.length")
    wait_for_text(page, length + 20)
    assert page.evaluate("document.getElementById('scroller').scrollTop") == top
    page.locator("#to-latest").click()
    wait_for_text(page, length + 40)
    assert page.evaluate(distance) <= 1
    page.get_by_role("button", name="停止", exact=True).click()
    wait_for_answer(page)


# what is below the view, whenever text has grown: before the browser draws a frame
RECORD_DISTANCES = """() => {
    window.distances = [];
    const view = document.getElementById('scroller');
    new MutationObserver(() => {
        if (!document.querySelector('.answer[aria-busy] .prose > *')) return;
        window.distances.push(Math.round(view.scrollHeight - view.clientHeight - view.scrollTop));
    }).observe(document.getElementById('log'), { childList: true, characterData: true, subtree: true });
}"""


def test_text_is_scrolled_by_the_task_that_draws_it(server, open_page):
    """A frame later, the event of scrolling would need one more frame for each."""
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 120})
    page.set_viewport_size({"width": 390, "height": 400})
    page.evaluate(RECORD_DISTANCES)
    ask(page, "请写一篇关于秋天的文章。")
    wait_for_answer(page)
    distances = page.evaluate("window.distances")
    assert len(distances) > 3 and max(distances) <= 1, distances


def test_queue_position_and_busy_server(start_server, model_path, open_page):
    server = start_server("--parallel", "1", "--queue", "1", model=model_path)
    long = {**GREEDY, "maxTokens": 2000}
    first, second, third = (open_page(server.base_url, long) for _ in range(3))
    ask(first, LONG_QUESTION)
    wait_for_text(first, 5)
    ask(second, "你好")
    second.wait_for_function(
        "() => /^排队中（第 1 位/.test(document.querySelector('.state-text')?.textContent)"
    )
    assert "排队中" in second.inner_text("#say")
    ask(third, "你好")
    third.wait_for_function(
        "() => /服务器正忙/.test(document.querySelector('.state-text')?.textContent)"
    )

    first.get_by_role("button", name="停止", exact=True).click()
    wait_for_answer(second)
    wait_for_answer(third)  # it asked again by itself
    assert third.locator(".message").count() == 2
    assert third.locator(".failure").count() == 0


def test_prefill_is_shown(server, open_page):
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 4})
    page.evaluate(
        """() => {
            window.states = new Set();
            new MutationObserver(() => {
                window.states.add(document.querySelector('.state-text')?.textContent);
            }).observe(document.getElementById('log'), { childList: true, subtree: true });
        }"""
    )
    ask(page, f"{time.time()} 总结下面的文字：" + "西湖位于杭州市西面，湖光山色，游人如织。" * 50)
    wait_for_answer(page)
    states = page.evaluate("[...window.states]")
    assert any(re.fullmatch(r"正在读取提示 \d+ %", state or "") for state in states), states


def test_the_page_asks_for_a_key(start_server, open_page, tmp_path):
    key_file = tmp_path / "keys"
    key_file.write_text("a-long-enough-key-for-the-test\n")
    key_file.chmod(0o600)
    server = start_server("--api-key-file", key_file)
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 8})
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    page.wait_for_function("() => document.getElementById('key').value === ''")
    page.wait_for_selector("#key-dialog[open]")
    assert "没有接受" in page.inner_text("#key-dialog")
    page.keyboard.press("Escape")
    ask(page, "你好")
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "a-long-enough-key-for-the-test")
    page.get_by_role("button", name="继续").click()
    wait_for_answer(page)
    page.wait_for_selector("#model:not(:empty)")
    page.reload()
    ask(page, "你好")
    wait_for_answer(page)
    assert page.locator("#key-dialog[open]").count() == 0


def test_too_long_a_conversation(start_server, open_page):
    server = start_server("--ctx-size", "256", "--parallel", "1")
    page = open_page(server.base_url, GREEDY)
    ask(page, "西湖位于杭州市西面，湖光山色，游人如织。" * 200)
    page.wait_for_selector(".failure")
    assert "对话太长" in page.inner_text(".failure")


def test_an_answer_that_repeats_itself(start_server, tiny_model_path, open_page):
    """The page switches the loop guard on, and shows why the answer ended. (The tiny model's greedy answer
    to this question becomes a loop.)"""
    server = start_server("--offline", model=tiny_model_path)
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 2500})
    with page.expect_request("**/v1/chat/completions") as request:
        ask(page, "what is it")
    assert request.value.post_data_json["loop_guard"] == "on"
    wait_for_answer(page)
    said = "内容一直重复，已提前结束"
    assert said in page.inner_text(".message:last-child")
    assert health(server)["statistics"]["repetitions_ended"] == 1
    page.reload()
    page.wait_for_selector(".message:last-child .again")
    assert said in page.inner_text(".message:last-child")


def test_settings(server, open_page):
    page = open_page(server.base_url)
    page.get_by_role("button", name="设置").click()
    expect(page.locator("#temperature")).to_have_value("0.7")  # once the server has told
    page.fill("#max-tokens", "0")
    page.get_by_role("button", name="保存").click()
    assert page.locator("#settings").is_visible(), "no answer of 0 tokens"
    page.fill("#max-tokens", "12")
    page.fill("#system", "你只会说“好的”。")
    page.locator("#temperature").fill("0")
    page.get_by_role("button", name="保存").click()
    assert page.evaluate("document.activeElement.id") == "open-settings"
    with page.expect_request("**/v1/chat/completions") as request:
        ask(page, "请从1数到100。")
    body = request.value.post_data_json
    assert body["messages"][0] == {"role": "system", "content": "你只会说“好的”。"}
    assert (body["temperature"], body["max_tokens"], body["stream"]) == (0, 12, True)
    wait_for_answer(page)
    page.reload()
    page.get_by_role("button", name="设置").click()
    assert page.input_value("#max-tokens") == "12"
    page.get_by_role("button", name="恢复默认").click()
    assert page.input_value("#max-tokens") == "1024"
    page.get_by_role("button", name="取消").click()
    page.get_by_role("button", name="设置").click()
    assert page.input_value("#max-tokens") == "12"


CONTRASTS = """() => {
    const luminance = (color) => {
        const scale = color.startsWith('color(srgb') ? 1 : 255;
        const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / scale)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const color = getComputedStyle(e).backgroundColor;
            if (!color.endsWith(', 0)')) return color;
        }
        return null;
    };
    const hasText = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const all = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()
        && !e.closest(':disabled') && hasText(e));
    return all.map((e) => {
        const [a, b] = [luminance(getComputedStyle(e).color), luminance(ground(e))];
        return [e.className || e.localName, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours(server, open_page, modules, scheme):
    other = "dark" if scheme == "light" else "light"
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 8}, color_scheme=scheme)
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == scheme
    low = [c for c in page.evaluate(CONTRASTS) if c[1] < 4.5]
    ask(page, "你好")
    wait_for_answer(page)
    modules(page, "markdown/markdown.js")
    page.evaluate(
        """() => {
            const { renderMarkdown } = window.m;
            const code = '```python\\nclass A(B):\\n    "doc"\\n    x = 1  # note\\n```';
            const text = `${code}\\n> q [l](https://a.b)`;
            document.querySelector('.prose').append(renderMarkdown(text));
        }"""
    )
    low += [c for c in page.evaluate(CONTRASTS) if c[1] < 4.5]
    assert not low, low

    page.get_by_role("button", name="切换浅色与深色").click()
    assert page.evaluate(theme) == other
    page.reload()
    assert page.evaluate(theme) == other
    page.locator("#toggle-theme").click()
    assert page.evaluate(theme) == scheme
    # the system's own theme is not stored as a choice: the page follows the system again
    page.emulate_media(color_scheme=other)
    page.wait_for_function(f"{theme} === '{other}'")


@pytest.mark.parametrize("width", [320, 390])
def test_phone(server, open_page, modules, width):
    page = open_page(
        server.base_url,
        {**GREEDY, "maxTokens": 8},
        viewport={"width": width, "height": 640},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
    )
    overflow = """() => [...document.querySelectorAll('body *')]
        .filter((e) => e.checkVisibility() && !e.closest('.code pre, .table, .offscreen, svg'))
        .map((e) => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
        .filter(([box]) => box.right > innerWidth + 1 || box.left < -1)
        .map(([, html]) => html)"""
    assert page.evaluate(overflow) == []
    page.fill("#message", "x" * 200)
    page.locator("#send").tap()  # Enter is a new line there
    wait_for_answer(page)
    modules(page, "markdown/markdown.js")
    page.evaluate(
        """() => {
            const { renderMarkdown } = window.m;
            const wide = 'w'.repeat(300);
            const text = ['```c', wide, '```', '', `|${wide}|b|`, '|-|-|', '|1|2|', '', wide, '',
                `https://example.com/${wide}`, '', `# ${wide}`, '', '`' + wide + '`'].join('\\n');
            document.querySelector('.prose').append(renderMarkdown(text));
        }"""
    )
    assert page.evaluate(overflow) == []
    assert page.evaluate(
        "[document.documentElement, document.getElementById('scroller')]"
        ".every((e) => e.scrollWidth <= e.clientWidth)"
    )
    small = page.evaluate(
        """() => [...document.querySelectorAll('button')].filter((b) => b.checkVisibility())
            .filter((b) => b.getBoundingClientRect().height < 32).map((b) => b.outerHTML)"""
    )
    assert small == [], "too small to touch"
    page.locator("#open-settings").tap()
    assert page.evaluate(overflow) == []


@pytest.mark.parametrize(
    "locale, lang, send",
    [
        ("zh-CN", "zh-Hans", "发送"),
        ("zh-TW", "zh-Hant", "傳送"),
        ("en-GB", "en", "Send"),
        ("it-IT", "en", "Send"),
    ],
)
def test_language(server, open_page, locale, lang, send):
    page = open_page(server.base_url, locale=locale)
    assert page.evaluate("document.documentElement.lang") == lang
    assert page.get_by_role("button", name=send, exact=True).is_visible()
    chinese = CHINESE.search(page.inner_text("header, footer") + page.inner_text("#welcome h2"))
    assert bool(chinese) == lang.startswith("zh")


def test_every_control_has_a_name(server, open_page):
    page = open_page(server.base_url, {**GREEDY, "maxTokens": 8}, reduced_motion="reduce")
    ask(page, "你好")
    pulse = "getComputedStyle(document.querySelector('.pulse')).animationName"
    assert page.evaluate(pulse) == "none"
    wait_for_answer(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, dialog')].filter((e) =>
            !e.hidden && !(e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent).trim())
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_all_languages_have_all_texts():
    """The same names, with the same placeholders, whatever plurals a language has."""
    tables = {path.stem: json.loads(path.read_text("utf-8")) for path in (WEB / "lang").iterdir()}
    placeholders = {
        name: {key: set(re.findall(r"\{\w+\}", str(text))) for key, text in table.items()}
        for name, table in tables.items()
    }
    assert len(tables) >= 2 and len(tables["en"]) > 40
    assert all(found == placeholders["en"] for found in placeholders.values())


def get(server, path, **headers):
    """(headers, body) as sent."""
    headers = {"Accept": "text/html", **{k.replace("_", "-"): v for k, v in headers.items()}}
    request = urllib.request.Request(server.base_url + path, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.headers, response.read()


def test_assets_and_their_headers(server):
    headers, index = get(server, "/")
    index = index.decode()
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([\w./-]+)"', index)
    assert len(named) >= 2 
    for path in ["/", "/licenses.txt", *(f"/{p}" for p in named)]:
        headers, whole = get(server, path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, path
        assert headers["X-Content-Type-Options"] == "nosniff", path
        is_lasting = re.search(r"-[0-9a-f]{16}\.", path) is not None
        assert ("immutable" in headers["Cache-Control"]) == is_lasting, path
        for encoding in ("identity", "gzip", "br, gzip;q=0.5", "gzip;q=0"):
            found, body = get(server, path, Accept_Encoding=encoding)
            is_packed = found["Content-Encoding"] == "gzip"
            is_smaller = not path.endswith(".png")  # when it is packed
            assert is_packed == (is_smaller and encoding in ("gzip", "br, gzip;q=0.5")), (path, encoding)
            assert found["Vary"] == ("Accept-Encoding" if is_smaller else None), path
            assert found["ETag"] is not None
            assert (gzip.decompress(body) if is_packed else body) == whole, path
            assert (found["ETag"] == headers["ETag"]) == (not is_packed), path
            with pytest.raises(urllib.error.HTTPError) as unchanged:
                get(server, path, If_None_Match=found["ETag"], Accept_Encoding=encoding)
            assert unchanged.value.code == 304, path
    assert "<style" not in index and " style=" not in index
    (script,) = re.findall(r"<script>(.*?)</script>", index, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy and not re.search(r"\son\w+=", index)


def test_the_page_opens_while_the_model_is_loaded(hold_server, open_page, model_path):
    held = hold_server(model=model_path)
    page = open_page(held.server.base_url, {**GREEDY, "maxTokens": 8})
    page.wait_for_selector("#model:text-is('正在下载模型')")
    ask(page, "你好")
    page.wait_for_selector(".answer:has-text('正在下载模型')")
    held.give()
    wait_for_answer(page)
    assert page.text_content(".message:last-child .prose") != ""
    page.wait_for_selector(f"#model:text-is('{held.name}')")


def test_the_page_of_a_server_with_keys_shows_loading(hold_server, open_page, tmp_path):
    """/health shows the stage without a key, /v1/models requires one."""
    key_file = tmp_path / "keys"
    key_file.write_text("a-long-enough-key-for-the-test\n")
    key_file.chmod(0o600)
    page = open_page(hold_server("--api-key-file", key_file).server.base_url)
    page.wait_for_selector("#key-dialog[open]")
    page.fill("#key", "a-long-enough-key-for-the-test")
    page.press("#key", "Enter")
    page.wait_for_selector("#model:text-is('正在下载模型')")

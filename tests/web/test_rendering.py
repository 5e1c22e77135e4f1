"""The page's modules alone, in the browser: text of the model is shown, and never executed."""

import re

import pytest
from payloads import PAYLOADS

MODULES = (
    "markdown/markdown.js", "markdown/growing.js", "markdown/formulas.js", "markdown/highlighting.js",
    "connection/events.js",
)  # fmt: skip
LOADED = "async () => { await window.m.loadKatex(); await window.m.loadHighlighter(); }"

# Puts each payload into the page in every way, then triggers all events that could run a script.
RENDER_PAYLOADS = """async (payloads) => {
    const places = [];
    const place = () => {
        const box = document.createElement('div');
        document.getElementById('log').append(box);
        places.push(box);
        return box;
    };
    for (const payload of payloads) {
        place().append(window.m.renderMarkdown(payload));
        place().append(window.m.sanitize(payload));
        const growing = new window.m.GrowingMarkdown(place());
        const step = Math.max(1, Math.floor(payload.length / 60));
        for (let i = 1; i <= payload.length; i += step) growing.update(payload.slice(0, i));
        growing.finish(payload);
    }
    const bad = [];
    const classes = new RegExp('^(code|code-head|lines|table|formula( display| unfinished| waiting)*|tex'
        + '|((hljs|language)-[\\\\w-]+ ?)+)$');
    const allowed = new Set(['a', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'h1',
        'h2', 'h3', 'hr', 'kbd', 'li', 'mark', 'ol', 'p', 'path', 'pre', 'span', 'strong', 'sub',
        'sup', 'svg', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'u', 'ul']);
    places.forEach((box, i) => {
        const payload = payloads[Math.floor(i / 3)];
        for (const element of box.querySelectorAll('*')) {
            const ours = element.closest('.copy') !== null;
            if (element.closest('.formula math')) continue; // see test_formulas.py
            if (!allowed.has(element.localName)) bad.push([payload, element.outerHTML]);
            if (['button', 'svg', 'path'].includes(element.localName) && !ours) {
                bad.push([payload, element.outerHTML]);
            }
            for (const { name, value } of element.attributes) {
                const fine = name === 'href' ? /^(https?:\\/\\/|mailto:)/.test(value)
                    : name === 'class' ? ours || classes.test(value)
                    : ours || (name === 'dir' && ['auto', 'ltr', 'rtl'].includes(value))
                        || ['align', 'start', 'rel', 'target', 'tabindex'].includes(name)
                        || (name === 'hidden' && element.matches('.formula > .tex'));
                if (!fine) bad.push([payload, `${name}=${value}`]);
            }
            if (element.localName === 'a' && element.hasAttribute('href')
                && (element.rel !== 'noopener noreferrer' || element.target !== '_blank')) {
                bad.push([payload, element.outerHTML]);
            }
            if (element.localName !== 'a' && !ours) {
                element.click();
                element.dispatchEvent(new Event('mouseover'));
            }
        }
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { bad, ran: window.ran ?? null, documents: places.length };
}"""


@pytest.fixture(scope="module")
def page(server, browser, modules):
    """A page shared by all tests that only call functions."""
    page = browser.new_page(service_workers="block")
    page.goto(server.base_url)
    modules(page, *MODULES)
    page.evaluate(LOADED)
    yield page
    page.close()


@pytest.fixture
def bare_page(server, open_page, modules):
    """A page without its Content-Security-Policy, protected only by the sanitizer."""
    page = open_page(server.base_url, bypass_csp=True)
    modules(page, *MODULES)
    page.evaluate(LOADED)
    return page


def test_payloads_would_run_without_the_sanitizer(bare_page):
    bare_page.evaluate(
        """() => {
            const box = document.createElement('div');
            document.body.append(box);
            box.innerHTML = '<img src=x onerror=window.ran=1>';
        }"""
    )
    bare_page.wait_for_function("window.ran === 1")


def test_no_payload_runs(bare_page):
    assert len(PAYLOADS) >= 100 and len(set(PAYLOADS)) == len(PAYLOADS)
    found = bare_page.evaluate(RENDER_PAYLOADS, PAYLOADS)
    assert found["documents"] == 3 * len(PAYLOADS)
    assert found["ran"] is None
    assert not found["bad"], found["bad"][:5]
    assert bare_page.locator("#composer").is_visible()


def test_payloads_together_as_an_answer(server, open_page):
    """The payloads arrive over the network as an answer, and are shown again after a reload."""
    answer = "\n\n".join(PAYLOADS)
    pieces = [answer[i : i + 31] for i in range(0, len(answer), 31)]
    page = open_page(server.base_url, bypass_csp=True)
    page.evaluate(
        """(pieces) => {
            const send = window.fetch;
            const line = (choice) => `data: ${JSON.stringify({ choices: [choice] })}\\n\\n`;
            window.fetch = (url, options) => {
                if (!String(url).endsWith('completions')) return send(url, options);
                const lines = pieces.map((content) => line({ delta: { content } }));
                lines.push(line({ delta: {}, finish_reason: 'stop' }), 'data: [DONE]\\n\\n');
                const body = new ReadableStream({
                    async start(controller) {
                        const encoder = new TextEncoder();
                        for (const [i, text] of lines.entries()) {
                            controller.enqueue(encoder.encode(text));
                            if (i % 20 === 0) await new Promise(requestAnimationFrame);
                        }
                        controller.close();
                    },
                });
                return Promise.resolve(new Response(body));
            };
        }""",
        pieces,
    )
    page.fill("#message", "markup")
    page.press("#message", "Enter")
    for _ in range(2):
        page.wait_for_selector(".answer .again")
        page.wait_for_timeout(300)
        assert page.evaluate("window.ran ?? null") is None
        assert page.locator(".prose :is(script, img, iframe, form, input, style)").count() == 0
        assert page.locator(".prose [style], .prose [id], .prose [onclick]").count() == 0
        page.reload()


def test_the_policy_refuses_what_is_injected(page):
    refused = page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener('securitypolicyviolation', (event) => {
                refused.push(event.effectiveDirective);
            });
            const add = (name, set) => {
                const element = document.createElement(name);
                set(element);
                document.body.append(element);
            };
            add('script', (e) => { e.textContent = 'window.ran = 1'; });
            add('div', (e) => { e.innerHTML = '<img src=x onerror="window.ran = 1">'; });
            add('div', (e) => { e.innerHTML = '<b style="color: red">x</b>'; });
            add('img', (e) => { e.src = 'https://example.com/seen.png'; });
            add('iframe', (e) => { e.src = 'https://example.com/'; });
            await fetch('https://example.com/').catch(() => {});
            await new Promise((resolve) => setTimeout(resolve, 300));
            return { refused, ran: window.ran ?? null };
        }"""
    )
    assert refused["ran"] is None
    expected = {
        "script-src-elem", "script-src-attr", "style-src-attr", "img-src", "frame-src",
        "connect-src",
    }
    assert expected <= set(refused["refused"]), refused


def html(page, text):
    return page.evaluate(
        f"""async (text) => {{
            const box = document.createElement('div');
            box.append(window.m.renderMarkdown(text));
            box.querySelectorAll('.code-head').forEach((head) => head.remove());
            return box.innerHTML;
        }}""",
        text,
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        ("**注意：**请看", "<strong>注意：</strong>请看"),
        ("这是**“引用”**吗", "<strong>“引用”</strong>吗"),
        ("2 ** 3 and 4 ** 5", "2 ** 3 and 4 ** 5"),
        ("见https://example.com/a，好", '>https://example.com/a</a>，好'),
        ("(https://example.com/a).", '>https://example.com/a</a>).'),
        ("a <div>b</div>", "a &lt;div&gt;b&lt;/div&gt;"),
        ("H<sub>2</sub>O<br>x", "H<sub>2</sub>O<br>x"),
        ("![cat](https://example.com/cat.png)", '<a href="https://example.com/cat.png"'),
        ("- [x] done\n- [ ] open", "☑ "),
        ("3. c\n4. d", '<ol start="3">'),
        ("a\nb", "a<br>b"),
        ("[here](/chat)", "<a>here</a>"),
    ],
)
def test_markdown(page, text, expected):
    assert expected in html(page, text)


@pytest.mark.parametrize(
    "info, expected",
    [("python", "hljs-keyword"), ("c++", "language-cpp"), ("C#", "language-csharp"), ("", "def f")],
)
def test_code_is_coloured(page, info, expected):
    shown = html(page, f"```{info}\ndef f(x):\n\treturn '<b>'\n```")
    assert expected in shown
    assert "\treturn" in re.sub("</?span[^>]*>", "", shown)


DOCUMENTS = [
    "# Title\n\nA paragraph with **bold**, `code` and a [link](https://example.com).\n\n"
    "- one\n- two\n  - nested\n- three\n\n1. first\n\n2. second\n\n"
    "```python\ndef f():\n\n    return 1\n```\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n> quoted\n> text\n\n---\n\nThe end.",
    "你好！\n\n**要点：**第一\n- 甲\n- 乙\n\n````md\n```js\nlet x = 1;\n```\n````\n\n~~~\nplain\n~~~\n完",
    "1. step\n   ```sh\n   make\n\n   make test\n   ```\n2. next\n\n   more\n\n3. last",
    "Makefile:\n\n```make\nall:\n\tcc -o x x.c\n\n\t./x\n```\nSee [docs][d].\n\n"
    "[d]: https://example.com/d",
    "Heading\n=======\n\ntext\r\nwindows\r\n\r\n* a\r\n* b\r\n",
    "not closed:\n\n```c\nint main(void)\n{\n    return 0;\n",
    "2**3 is `8`, *really*. <b>x</b> & <div>\n\n    indented code\n\ntail",
]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("step", [1, 3, 17])
def test_growing_text_renders_like_the_whole_text(page, document, step):
    """And on the way there is never a raw fence or a heading that was none, and what is finished
    is not touched again."""
    grown, whole, fences, kept = page.evaluate(
        f"""async ([text, step]) => {{
            const box = document.createElement('div');
            const growing = new window.m.GrowingMarkdown(box);
            let fences = 0;
            let kept = true;
            let before = [];
            for (let i = step; i < text.length; i += step) {{
                growing.update(text.slice(0, i));
                const shown = box.textContent.replace(/```js[^]*/, '');
                if (/(^|\\n) *(```|~~~)/.test(shown)) fences++;
                const now = [...box.children].slice(0, -1);
                kept &&= before.every((element, k) => element === box.children[k]);
                before = now;
            }}
            growing.finish(text);
            const whole = document.createElement('div');
            whole.append(window.m.renderMarkdown(text));
            return [box.innerHTML, whole.innerHTML, fences, kept];
        }}""",
        [document, step],
    )
    assert grown.replace("\n", "") == whole.replace("\n", "")
    assert fences == 0
    assert kept


STREAM = (
    ": queue 2, about 8 s\n: prefill 37%\ndata: {\"a\":\"你好😀\"}\n\nevent: note\r\ndata: x\r\n"
    "data: y\r\n\r\ndata\n\nid: 7\ndata:no blank\r\rdata: lost"
)


def test_events_with_bytes_cut_anywhere(page):
    expected = [
        {"comment": "queue 2, about 8 s"},
        {"comment": "prefill 37%"},
        {"event": "message", "data": '{"a":"你好😀"}'},
        {"event": "note", "data": "x\ny"},
        {"event": "message", "data": ""},
        {"event": "message", "data": "no blank"},
    ]
    results = page.evaluate(
        """async (text) => {
            const { EventParser, serverSentEvents } = window.m;
            const bytes = new TextEncoder().encode(text);
            const read = (chunks) => {
                const parser = new EventParser();
                return JSON.stringify(chunks.flatMap((chunk) => parser.take(chunk)));
            };
            const stream = async (chunks) => {
                const body = new ReadableStream({
                    start(controller) {
                        for (const chunk of chunks) controller.enqueue(chunk);
                        controller.close();
                    },
                });
                const lists = [];
                for await (const list of serverSentEvents(body)) lists.push(list);
                return JSON.stringify(lists.flat());
            };
            const single = [...bytes].map((byte) => Uint8Array.of(byte));
            const results = new Set([await stream([bytes]), await stream(single), read(single)]);
            for (let i = 0; i <= bytes.length; i++) {
                for (let k = i; k <= Math.min(i + 4, bytes.length); k++) {
                    results.add(read([bytes.slice(0, i), bytes.slice(i, k), bytes.slice(k)]));
                }
            }
            return [...results].map((result) => JSON.parse(result));
        }""",
        STREAM,
    )
    assert results == [expected]


@pytest.mark.parametrize(
    "comment, expected",
    [
        ("queue 2, about 8 s", {"place": 2, "seconds": 8}),
        ("queue 1", {"place": 1, "seconds": 0}),
        ("prefill 37 %", {"percent": 37}),
        ("prefill 99%", {"percent": 99}),
        ("ping", None),
    ],
)
def test_progress(page, comment, expected):
    found = page.evaluate("(comment) => window.m.progressOf(comment)", comment)
    assert found == expected

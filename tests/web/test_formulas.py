"""Formulas are drawn as MathML: where they are meant, never in code, never money, never dangerous."""

import pytest
from payloads import FORMULAS
from recorded_answers import stream_body

MODULES = (
    "markdown/markdown.js", "markdown/growing.js", "markdown/formulas.js", "markdown/highlighting.js",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(server, browser, modules):
    page = browser.new_page(service_workers="block")
    page.goto(server.base_url)
    modules(page, *MODULES)
    page.evaluate("async () => { await window.m.loadKatex(); await window.m.loadHighlighter(); }")
    yield page
    page.close()


def formulas(page, text):
    """Returns the sources of the formulas that are drawn, and the text around them."""
    return page.evaluate(
        """(text) => {
            const box = document.createElement('div');
            box.append(window.m.renderMarkdown(text));
            const drawn = [...box.querySelectorAll('.formula:has(math) .tex')];
            const sources = drawn.map(({ textContent }) => textContent);
            for (const source of drawn) source.parentNode.remove();
            return [sources, box.textContent];
        }""",
        text,
    )


@pytest.mark.parametrize(
    "text, sources, rest",
    [
        ("so \\(x^2\\).", ["\\(x^2\\)"], "so ."),
        ("\\[\na \\\\[2pt] b\n\\]", ["\\[a \\\\[2pt] b\\]"], ""),
        ("$$E = mc^2$$", ["\\[E = mc^2\\]"], ""),
        ("text\n$$\nx = 1\n- y\n$$\nmore", ["\\[x = 1\n- y\\]"], "textmore"),
        ("the $$x_1$$ in a line", ["\\[x_1\\]"], "the  in a line"),
        ("2*3 \\(a*b\\) and *\\(c\\)*", ["\\(a*b\\)", "\\(c\\)"], "2*3  and "),
        ("\\(a_1\\) and \\(b_2\\)", ["\\(a_1\\)", "\\(b_2\\)"], " and "),
        ("1. one:\n   \\[x\\]\n2. two", ["\\[x\\]"], "one:two"),
        ("- \\(x\\)\n\n| a |\n|---|\n| \\(y\\) |", ["\\(x\\)", "\\(y\\)"], "a"),
        ("it costs $5 and $10, or $x$", [], "it costs $5 and $10, or $x$"),
        ("`\\(x\\)` and ``$$y$$``", [], "\\(x\\) and $$y$$"),
        ("```\n\\[x\\]\n$$y$$\n```", [], None),
        ("restaurants: $$ and $$ and $$$", [], "restaurants: $$ and $$ and $$$"),
        ("\\\\(x\\\\)", [], "\\(x\\)"),
        ("not closed \\(x and more", [], "not closed (x and more"),
        ("\\(" + "x" * 3000 + "\\)", [], None),
        ("\\(\\def\\a{b}\\a\\)", [], "\\(\\def\\a{b}\\a\\)"),
    ],
)
def test_where_formulas_are(page, text, sources, rest):
    found, around = formulas(page, text)
    assert found == sources
    if rest is not None:
        assert around.strip() == rest.strip()


def test_letters_and_columns_that_browsers_do_not_know(page):
    html = page.evaluate(
        """() => {
            const box = document.createElement('div');
            box.append(window.m.renderMarkdown(
                '\\\\(\\\\mathbb{R} \\\\mathcal{L} \\\\mathbf{v}\\\\) \\\\[\\\\begin{aligned} a &= b \\\\end{aligned}\\\\]'));
            return box.innerHTML;
        }"""
    )
    for part in ("ℝ", "ℒ", "𝐯", 'class="to-right"', 'class="to-left"'):
        assert part in html


DOCUMENTS = [
    "The roots of \\(ax^2 + bx + c\\) are\n\n\\[\nx = \\frac{-b \\pm d}{2a}\n\\]\n\nwith $$d^2 = b^2 - 4ac$$ "
    "as \\(d\\).\n\n- one \\(\\alpha\\)\n- two:\n  $$\n  y_1\n  $$\n- three",
    "It costs $5.\n$$\n\\begin{aligned}\na &= b \\\\\n  &= c\n\\end{aligned}\n$$\nDone: \\(\\boxed{42}\\)",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_source_flickers_by_while_it_is_written(page, document):
    raw, grown, whole, replaced = page.evaluate(
        """(text) => {
            const box = document.createElement('div');
            const growing = new window.m.GrowingMarkdown(box);
            const raw = [];
            const seen = new Map();
            let replaced = 0;
            for (let i = 1; i < text.length; i++) {
                growing.update(text.slice(0, i));
                const copy = box.cloneNode(true);
                for (const formula of copy.querySelectorAll('.formula')) formula.remove();
                if (/\\\\|\\$\\$|[{}^&]/.test(copy.textContent)) raw.push(copy.textContent);
                for (const formula of box.querySelectorAll('.formula:has(math)')) {
                    const source = formula.querySelector('.tex').textContent;
                    if (seen.has(source) && seen.get(source) !== formula) replaced++;
                    seen.set(source, formula);
                }
            }
            growing.finish(text);
            const whole = document.createElement('div');
            whole.append(window.m.renderMarkdown(text));
            return [raw, box.innerHTML, whole.innerHTML, replaced];
        }""",
        document,
    )
    assert raw == []
    assert grown == whole
    assert replaced <= 1, "what is drawn stays"


def test_hostile_formulas_stay_small_and_in_their_place(page):
    assert len(FORMULAS) >= 50
    found = page.evaluate(
        """(formulas) => {
            const log = document.getElementById('log');
            const prose = document.createElement('div');
            prose.className = 'prose';
            log.append(prose);
            const bad = [];
            const elements = new Set(['math', 'semantics', 'annotation', 'menclose', 'mfrac', 'mi', 'mn',
                'mo', 'mover', 'mpadded', 'mphantom', 'mroot', 'mrow', 'mspace', 'msqrt', 'mstyle', 'msub',
                'msubsup', 'msup', 'mtable', 'mtd', 'mtext', 'mtr', 'munder', 'munderover']);
            for (const formula of formulas) {
                prose.replaceChildren(window.m.renderMarkdown(formula));
                const nodes = [...prose.querySelectorAll('math, math *')];
                if (nodes.length > 2000) bad.push([formula.slice(0, 80), nodes.length]);
                for (const node of nodes) {
                    if (!elements.has(node.localName)) bad.push([formula, node.outerHTML]);
                    for (const { name, value } of node.attributes) {
                        const isOurs = name === 'class' && /^(to-(left|center|right)( apart)?|apart)$/.test(value);
                        if (/^(on|href|src|style|xlink|id)/.test(name) || (name === 'class' && !isOurs)) {
                            bad.push([formula, `${name}=${value}`]);
                        }
                    }
                }
                // what is drawn is cut off at the formula's box, and that box stays in the column
                const column = prose.getBoundingClientRect();
                for (const box of prose.querySelectorAll('.formula:has(math)')) {
                    const { left, right } = box.getBoundingClientRect();
                    if (left < column.left - 1 || right > column.right + 1) bad.push([formula, left, right]);
                    if (!getComputedStyle(box).contain.includes('paint')) bad.push([formula, 'not contained']);
                }
            }
            prose.remove();
            return bad;
        }""",
        FORMULAS,
    )
    assert not found, found[:5]


def test_copying_gives_the_source(server, open_page):
    page = open_page(server.base_url)
    text = "The sum \\(\\frac{1}{2}\\) is\n\n\\[x^2\\]\n\nright."
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(body=stream_body([text]), content_type="text/event-stream"),
    )
    page.fill("#message", "?")
    page.press("#message", "Enter")
    page.wait_for_function("() => document.querySelectorAll('.prose math').length === 2")
    copied = page.evaluate(
        """() => {
            getSelection().selectAllChildren(document.querySelector('.answer .prose'));
            const event = new ClipboardEvent('copy', { clipboardData: new DataTransfer(), bubbles: true });
            document.dispatchEvent(event);
            return event.clipboardData.getData('text/plain');
        }"""
    )
    assert " ".join(copied.split()) == "The sum \\(\\frac{1}{2}\\) is \\[x^2\\] right."
    assert page.locator(".prose math").count() == 2
    assert page.locator(".prose .tex:visible").count() == 0

"""The cost of a growing answer in the browser: nodes and changes, which do not depend on the clock
(bench/page has those that do)."""

import pytest
from recorded_answers import ANSWERS, pieces_of

TOKENS = 1000

# grows an answer by one token after the other, and counts nodes made and changes recorded
GROW = """async (pieces) => {
    const box = document.createElement('div');
    document.body.append(box);
    const count = (node) => 1 + [...node.childNodes].reduce((sum, child) => sum + count(child), 0);
    let nodes = 0;
    let changes = 0;
    let most = 0;
    const observer = new MutationObserver(() => {});
    observer.observe(box, { childList: true, subtree: true, characterData: true });
    const growing = new window.m.GrowingMarkdown(box);
    const take = () => {
        let made = 0;
        for (const { addedNodes } of observer.takeRecords()) {
            changes++;
            for (const node of addedNodes) made += count(node);
        }
        nodes += made;
        return made;
    };
    let parsed = 0;
    const parse = DOMParser.prototype.parseFromString;
    DOMParser.prototype.parseFromString = function (html, type) {
        parsed += String(html).length;
        return parse.call(this, html, type);
    };
    let text = '';
    for (const piece of pieces) {
        text += piece;
        growing.update(text);
        most = Math.max(most, take());
    }
    DOMParser.prototype.parseFromString = parse;
    growing.finish(text);
    const last = take();
    const final = count(box);
    box.remove();
    return { nodes, changes, most, last, final, parsed };
}"""


@pytest.fixture(scope="module")
def page(server, browser, modules):
    page = browser.new_page(service_workers="block")
    page.goto(server.base_url)
    modules(page, "markdown/growing.js", "markdown/highlighting.js", "markdown/formulas.js")
    page.evaluate("async () => { await window.m.loadKatex(); await window.m.loadHighlighter(); }")
    yield page
    page.close()


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_a_token_parses_what_can_still_change(page, kind):
    """Not the whole of a long paragraph, list or table."""
    pieces = pieces_of(ANSWERS[kind], TOKENS)
    found = page.evaluate(GROW, pieces)
    assert found["parsed"] <= 400 * len(pieces), found


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_a_token_makes_few_nodes(page, kind):
    pieces = pieces_of(ANSWERS[kind], TOKENS)
    found = page.evaluate(GROW, pieces)
    # each node of the end is made about once, however long the block is that grows
    assert found["nodes"] <= 1.8 * found["final"], found
    assert found["changes"] <= 3 * len(pieces), found
    assert found["last"] <= 120, f"{found}: the end renders again what was there"


def test_code_is_not_made_again_when_it_grows(page):
    """2,000 tokens in one block made 105,000 nodes, because each token coloured all of it again."""
    pieces = pieces_of(ANSWERS["code"], 2000)
    found = page.evaluate(GROW, pieces)
    assert found["nodes"] < 2 * len(pieces), found
    assert found["most"] < 100, found

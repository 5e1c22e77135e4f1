"""A rough user: files that hold anything, a full disk, quick fingers, the browser's buttons."""

import json
import uuid

import pytest
from test_kept_chats import (
    GREEDY, ask_and_wait, bubbles, choose, import_file, menu_of_all, new_chat, open_english, pulled, saved,
    stored, tiny, titles, wait_for_titles, wait_until_sent,
)  # fmt: skip

__all__ = ["open_english", "tiny"]


def message(role, parent=None, **fields):
    return {"id": str(uuid.uuid4()), "parent": parent, "role": role, "content": "text", "state": "complete", **fields}


ODD = [5, "text", None, [], [None], {}, {"a": {}}, True, -1, 1e300]
FIELDS = """thought thoughtSeconds calls files stats state answerId events readsFrom isEdited isFull created
    changed model""".split()


def test_files_may_hold_anything(tiny, open_english, tmp_path):
    page = open_english(tiny)
    chats = []
    for i, odd in enumerate(ODD):
        question = message("user", **dict.fromkeys(FIELDS, odd))
        answers = [message("assistant", question["id"], **{name: odd}) for name in FIELDS]
        chats.append({
            "id": str(uuid.uuid4()), "title": f"odd {i}", "created": 9e15, "changed": 9e15 if i % 2 else odd,
            "pinned": odd, "settings": odd, "current": answers[-1]["id"], "messages": [question, *answers],
        })  # fmt: skip
    chats += [None, 5, {"messages": [None, {"role": "user"}]}]
    (tmp_path / "odd.json").write_text(json.dumps({"format": "kinglet-chats", "version": 1, "chats": chats}))
    import_file(page, tmp_path / "odd.json")
    page.wait_for_selector(f".toast:has-text('{len(ODD)} chats read')")
    page.wait_for_function("(n) => document.querySelectorAll('#rail .list li').length === n", arg=len(ODD))
    for i in range(len(ODD)):
        page.get_by_role("link", name=f"odd {i}", exact=True).click()
        page.wait_for_selector(f"#rail [aria-current]:has-text('odd {i}')")
        assert bubbles(page) == ["text"]
        for _ in FIELDS:
            assert page.locator(".answer .prose").last.inner_text() == "text"
            page.evaluate("document.querySelector('.answer [aria-label=\\'Previous version\\']').click()")
    page.reload()
    page.wait_for_selector("#send[data-action]")
    assert len(titles(page)) == len(ODD)


def test_damaged_records_of_other_programs(tiny, open_english, tmp_path):
    page = open_english(tiny)
    # older files of llama-ui have numbers as IDs
    numbers = {"conv": {"id": "conv-1", "name": "numbers", "lastModified": 1700000000000, "currNode": 3}, "messages": [
        None, {"id": 1, "parent": -1, "role": "system", "type": "root", "content": "", "timestamp": 1},
        {"id": 2, "parent": 1, "role": "user", "type": "text", "content": "number two", "timestamp": 2},
        {"id": 3, "parent": 2, "role": "assistant", "type": "text", "content": "three", "timestamp": 3}]}  # fmt: skip
    (tmp_path / "numbers.json").write_text(json.dumps(numbers))
    import_file(page, tmp_path / "numbers.json")
    page.wait_for_selector(".toast:has-text('1 chat read')")
    page.get_by_role("link", name="numbers").click()
    page.wait_for_selector(".bubble:text-is('number two')")
    assert page.inner_text(".answer .prose") == "three"
    webui = [{"chat": {"title": "holes", "history": {"messages": {
        "a": None, "b": {"id": "b", "role": "user", "parentId": None, "content": "whole"}}}}}]  # fmt: skip
    (tmp_path / "webui.json").write_text(json.dumps(webui))
    import_file(page, tmp_path / "webui.json")
    page.get_by_role("link", name="holes").click()
    page.wait_for_selector(".bubble:text-is('whole')")
    for i, text in enumerate(["", "[", "null", "5", "[[]]", '{"format": "kinglet-chats"}', "PK\x03\x04", "\0" * 100]):
        (tmp_path / f"bad{i}.json").write_text(text)
        import_file(page, tmp_path / f"bad{i}.json")
        page.wait_for_selector(f".toast:has-text('bad{i}.json is not a file of chats')")


FULL = """() => {
    const { transaction } = IDBDatabase.prototype;
    IDBDatabase.prototype.transaction = function (names, mode) {
        const made = transaction.call(this, names, mode);
        if (mode === 'readwrite' && window.isFull !== false) queueMicrotask(() => made.abort());
        return made;
    };
}"""


def test_a_full_disk(tiny, open_english, tmp_path):
    page = open_english(tiny)
    ask_and_wait(page, "before")
    saved(page)
    chats = [{"id": str(uuid.uuid4()), "title": "more", "messages": [message("user")]}]
    (tmp_path / "more.json").write_text(json.dumps({"format": "kinglet-chats", "chats": chats}))
    page.evaluate(FULL)
    warning = page.locator(".toast:has-text('does not save your chats')")
    for act in (
        lambda: import_file(page, tmp_path / "more.json"),
        lambda: choose(page, "before", "Pin"),
    ):
        act()
        warning.first.wait_for()
        page.evaluate("document.getElementById('toasts').replaceChildren()")
    assert titles(page) == ["before"]
    ask_and_wait(page, "during")  # goes on, though it is not stored
    assert bubbles(page) == ["before", "during"]
    page.evaluate("window.isFull = false")
    page.fill("#message", "draft")  # the next change stores all
    page.wait_for_timeout(1200)
    contents = {m["content"] for m in stored(page, "messages") if m["role"] == "user"}
    assert contents == {"before", "during"}


def test_a_full_disk_while_chats_come_from_the_server(start_server, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history")
    page = open_english(server)
    page.wait_for_selector("#rail .status:has-text('Kept on the server')")
    page.evaluate(FULL)
    desk = open_english(server)
    ask_and_wait(desk, "from elsewhere")
    wait_until_sent(desk)
    pulled(page)
    page.wait_for_selector(".toast:has-text('does not save your chats')")
    assert "until the server is back" not in page.inner_text("#rail .status")
    page.evaluate("window.isFull = false")
    pulled(page)
    wait_for_titles(page, "from elsewhere")


def test_a_private_chat_is_private_after_a_reload(start_server, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history")
    page = open_english(server)
    page.wait_for_selector("#rail .status:has-text('Kept on the server')")
    menu_of_all(page, "New private chat")
    page.wait_for_selector("#hint:has-text('Private')")
    saved(page)
    page.reload()
    page.wait_for_selector("#send[data-action]")
    assert page.inner_text("#hint") == "Private: stays in this browser"
    page.get_by_role("button", name="New chat").first.click()
    page.wait_for_selector("#hint:has-text('can be wrong')")


def test_quick_fingers(tiny, open_english):
    page = open_english(tiny)
    page.evaluate(
        """() => {
            const box = document.getElementById('message');
            for (const text of ['one', 'two', 'three']) {
                box.value = text;
                box.dispatchEvent(new Event('input'));
                document.getElementById('composer').requestSubmit();
            }
            for (let i = 0; i < 9; i++) document.getElementById('new-chat').click();
            for (let i = 0; i < 4; i++) document.getElementById('toggle-rail').click();
            for (let i = 0; i < 4; i++) document.getElementById('toggle-theme').click();
        }"""
    )
    page.wait_for_selector("#rail .list li")
    page.get_by_role("link", name="one").click()
    page.wait_for_selector(".bubble:text-is('one')")
    page.wait_for_selector(".answer .again")
    saved(page)
    page.wait_for_timeout(300)
    said = [m["content"] for m in stored(page, "messages") if m["role"] == "user"]
    assert sorted(said) == ["one", "three", "two"], "nothing that was sent is lost"
    assert len(stored(page, "chats")) == 1, "no empty chats are kept"


def test_back_and_forward_over_deleted_chats(tiny, open_english):
    page = open_english(tiny)
    for text in ("one", "two"):
        if text == "two":
            new_chat(page)
        ask_and_wait(page, text)
    choose(page, "one", "Delete")
    page.go_back()
    page.wait_for_selector("#welcome", state="visible")
    page.wait_for_selector(".toast:has-text('is not in this browser')")
    page.get_by_role("button", name="Undo").click()
    wait_for_titles(page, "two", "one")
    page.go_forward()
    page.wait_for_timeout(200)
    page.get_by_role("link", name="one").click()
    page.wait_for_selector(".bubble:text-is('one')")
    for address in ("#c=", "#c=%00", "#c=__proto__", "#c=" + "x" * 5000, "#key=", "#key=%zz&c=1", "#&&=&"):
        page.goto(tiny.base_url + "/" + address)
        page.wait_for_selector("#send[data-action]")


@pytest.mark.parametrize("locale", ["en-GB", "ar"])
def test_very_long_titles(tiny, open_english, tmp_path, locale):
    page = open_english(tiny, GREEDY, locale=locale, viewport={"width": 320, "height": 480})
    title = "W" * 2000 + "\u202eevil\u2066" + "مرحبا " * 300
    chats = [{"id": str(uuid.uuid4()), "title": title, "messages": [message("user", content=title)]}]
    (tmp_path / "long.json").write_text(json.dumps({"format": "kinglet-chats", "chats": chats}))
    page.locator("#toggle-rail").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#rail .rail-foot .chat-menu").click()
        page.get_by_role("menuitem").first.click()
    chooser.value.set_files(tmp_path / "long.json")
    page.locator("#rail .list a").first.click()
    page.wait_for_selector(".bubble")
    wide = "() => [document.scrollingElement, document.getElementById('scroller')].some((e) => e.scrollWidth > e.clientWidth)"
    assert not page.evaluate(wide)
    page.locator("#toggle-rail").click()
    page.locator("#rail .list .chat-menu").first.click()
    page.get_by_role("menuitem").last.click()
    page.wait_for_selector(".toast")
    assert not page.evaluate(wide)
    assert page.evaluate("document.querySelector('.toast button').getBoundingClientRect().right <= innerWidth")

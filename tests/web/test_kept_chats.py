"""Kept chats: the rail, versions, addresses, tabs, what survives, and files of chats."""

import json
import os
import re
import signal
import time
import zipfile
from pathlib import Path

import pytest
from conftest import CHROMIUM, CHROMIUM_OPTIONS
from conversation import wait_for_answer, wait_for_text

WAIT_MS = 60_000  # only guards against hanging
GREEDY = {"temperature": 0, "maxTokens": 12, "system": ""}
LONG = {**GREEDY, "maxTokens": 2000}
LONG_QUESTION = "Write an essay of a thousand words about rivers, in many paragraphs."
ENGLISH = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}}
PHONE = {"locale": "en-GB", "viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def tiny(start_server, tiny_model_path):
    """A server whose answers are quick nonsense."""
    return start_server("--offline", model=tiny_model_path)


@pytest.fixture
def open_english(open_page):
    def open_(server, settings=GREEDY, path="", **options):
        page = open_page(server.base_url + path, settings, **{**ENGLISH, **options})
        page.context.set_default_timeout(WAIT_MS)
        return page

    return open_


def ask(page, text):
    page.fill("#message", text)
    page.locator("#send").click()


def ask_and_wait(page, text):
    ask(page, text)
    wait_for_answer(page)


def titles(page):
    return page.locator("#rail .list li .title").all_inner_texts()


def wait_for_titles(page, *expected):
    page.wait_for_function(
        "(titles) => JSON.stringify([...document.querySelectorAll('#rail .list li .title')]"
        ".map((e) => e.textContent)) === JSON.stringify(titles)",
        arg=list(expected),
    )


def new_chat(page):
    page.locator("#new-chat").click()
    page.wait_for_selector("#welcome", state="visible")


def choose(page, title, item):
    """Chooses an item of the menu of a chat."""
    page.bring_to_front()  # a tab in the background draws late
    row = page.locator("#rail li", has_text=title)
    row.hover()
    row.locator(".chat-menu").click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def bubbles(page):
    return page.locator(".bubble").all_inner_texts()


def saved(page):
    """Waits until all is in the database, drafts too, which the page saves once a second."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    stored(page, "chats")  # a transaction waits for those that began before it


def stored(page, store):
    return page.evaluate(
        """(store) => new Promise((resolve) => {
            indexedDB.open('kinglet').onsuccess = ({ target: { result: db } }) => {
                db.transaction(store).objectStore(store).getAll().onsuccess = (e) => {
                    db.close();
                    resolve(e.target.result);
                };
            };
        })""",
        store,
    )


# ---- the rail ----------------------------------------------------------------------------------


def test_chats_are_kept_and_listed(tiny, open_english):
    page = open_english(tiny)
    assert page.inner_text("#rail .nothing") == "Your chats will appear here."
    ask_and_wait(page, "**Alpha** and a title that is much too long for a list, so it is shortened, is it not?")
    new_chat(page)
    assert "#" not in page.url
    ask_and_wait(page, "beta")
    title = "Alpha and a title that is much too long for a list, so it…"
    wait_for_titles(page, "beta", title)
    assert page.inner_text("#rail h2") == "Today"

    # the one that was changed last is the first
    page.get_by_role("link", name="Alpha").click()
    page.wait_for_function("() => document.querySelector('.bubble').textContent.includes('Alpha')")
    ask_and_wait(page, "gamma")
    wait_for_titles(page, title, "beta")

    page.reload()
    page.wait_for_selector(".message:nth-child(4) .again")
    assert bubbles(page)[1] == "gamma"
    wait_for_titles(page, title, "beta")
    assert page.locator("#rail [aria-current=page]").inner_text() == title


def test_rename_pin_and_days(tiny, open_english):
    page = open_english(tiny)
    for text in ("alpha", "beta", "gamma"):
        ask_and_wait(page, text)
        new_chat(page)
    choose(page, "alpha", "Rename")
    page.keyboard.type("Omega")
    page.keyboard.press("Enter")
    wait_for_titles(page, "gamma", "beta", "Omega")
    choose(page, "gamma", "Rename")
    page.keyboard.type("never")
    page.keyboard.press("Escape")
    choose(page, "Omega", "Pin")
    wait_for_titles(page, "Omega", "gamma", "beta")
    assert page.locator("#rail h2").all_inner_texts() == ["Pinned", "Today"]
    choose(page, "Omega", "Rename")
    page.locator(".rename").fill("")
    page.keyboard.press("Enter")
    wait_for_titles(page, "alpha", "gamma", "beta")  # its own title again
    choose(page, "alpha", "Unpin")

    # older ones have headings of their own
    page.evaluate(
        """() => new Promise((resolve) => {
            indexedDB.open('kinglet').onsuccess = ({ target: { result: db } }) => {
                const change = db.transaction('chats', 'readwrite');
                const chats = change.objectStore('chats');
                const days = { gamma: 0, beta: 1, alpha: 400 };
                chats.getAll().onsuccess = ({ target }) => target.result.forEach((chat) => chats.put(
                    { ...chat, changed: Date.now() - (days[chat.title] ?? 0) * 24 * 3600 * 1000 }));
                change.oncomplete = resolve;
            };
        })"""
    )
    page.reload()
    wait_for_titles(page, "gamma", "beta", "alpha")
    headings = page.locator("#rail h2").all_inner_texts()
    assert headings[:2] == ["Today", "Yesterday"]
    assert re.fullmatch(r"[A-Z][a-z]+ 20\d\d", headings[2])


def test_delete_and_undo_in_all_tabs(tiny, open_english):
    page = open_english(tiny)
    ask_and_wait(page, "alpha")
    ask_and_wait(page, "more")
    address = page.url
    before = page.locator(".message").all_inner_texts()
    saved(page)
    other = page.context.new_page()
    other.goto(address)
    wait_for_titles(other, "alpha")

    choose(page, "alpha", "Delete")
    for tab in (page, other):
        wait_for_titles(tab)
        tab.wait_for_selector("#welcome", state="visible")
    # the focus is on Undo, so it needs one key
    assert page.evaluate("document.activeElement.textContent") == "Undo"
    page.keyboard.press("Enter")
    for tab in (page, other):
        wait_for_titles(tab, "alpha")
        assert tab.locator(".toast").count() == 0
    page.wait_for_selector(".message:nth-child(4)")
    assert page.locator(".message").all_inner_texts() == before
    other.go_back()
    other.goto(address)
    other.wait_for_selector(".message:nth-child(4)")

    # the other tab can undo as well; without it, the chat is gone for ever
    choose(page, "alpha", "Delete")
    other.get_by_role("button", name="Undo").click()
    wait_for_titles(page, "alpha")
    page.evaluate("() => { const now = Date.now; Date.now = () => now() - 9500; }")
    choose(page, "alpha", "Delete")  # 9.5 s ago
    wait_for_titles(other)
    page.reload()
    wait_for_titles(page)
    deadline = time.monotonic() + 15
    while stored(page, "messages"):
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)
    assert stored(page, "chats") == []


def test_search_in_all_texts(tiny, open_english):
    page = open_english(tiny)
    ask_and_wait(page, "A question about Heron birds\n\nand the RIVER Thames")
    new_chat(page)
    ask_and_wait(page, "nothing of that")
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("thames river")
    page.wait_for_selector("#rail .snippet")
    wait_for_titles(page, "A question about Heron birds")
    assert page.inner_text("#rail mark") == "Thames"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message.found")
    assert "Heron" in page.inner_text(".bubble")
    page.fill("#search", "xyzzy")
    page.wait_for_selector("#rail .nothing")
    page.focus("#search")
    page.keyboard.press("Escape")
    wait_for_titles(page, "nothing of that", "A question about Heron birds")


# ---- versions ----------------------------------------------------------------------------------


def test_versions_of_questions_and_answers(tiny, open_english):
    page = open_english(tiny, {**GREEDY, "temperature": 1.5})
    ask_and_wait(page, "first")
    first = page.inner_text(".answer .prose")
    assert page.locator(".versions:visible").count() == 0
    page.locator(".answer .again").click()
    page.wait_for_selector(".answer .place:text-is('2/2')")
    wait_for_answer(page)
    second = page.inner_text(".answer .prose")
    page.get_by_role("button", name="Previous version").click()
    assert page.inner_text(".answer .prose") == first
    assert page.inner_text(".answer .place") == "1/2"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Next version"
    page.keyboard.press("Enter")
    assert page.inner_text(".answer .prose") == second

    # an edited question is another version, with answers of its own
    ask_and_wait(page, "second")
    page.locator(".user").first.hover()
    page.locator(".user .edit").first.click()
    page.locator(".editor textarea").fill("edited")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".user .place:text-is('2/2')")
    wait_for_answer(page)
    assert bubbles(page) == ["edited"]
    page.locator(".user").get_by_role("button", name="Previous version").click()
    assert bubbles(page) == ["first", "second"]
    assert page.locator(".answer .place:visible").all_inner_texts() == ["2/2"]

    # an edited answer is a version; the original stays
    page.locator(".answer .edit").last.click()
    page.locator(".editor textarea").fill("an answer of the user")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector(".answer:last-child .place:text-is('2/2')")
    assert page.inner_text(".answer:last-child .prose") == "an answer of the user"
    assert "Edited" in page.inner_text(".answer:last-child .foot")
    # what the user did is stored at once
    assert "an answer of the user" in [message["content"] for message in stored(page, "messages")]
    page.reload()
    page.wait_for_selector(".answer:last-child .place:text-is('2/2')")
    assert page.inner_text(".answer:last-child .prose") == "an answer of the user"
    page.locator(".answer .edit").last.click()
    page.keyboard.press("Escape")
    assert page.locator(".editor").count() == 0


def test_try_again_keeps_the_text(tiny, open_english):
    page = open_english(tiny, LONG)
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        status=200, content_type="text/event-stream",
        body='data: {"choices":[{"delta":{"content":"half an answer"}}]}\n\n'
        'data: {"error":{"message":"broken","code":"internal"}}\n\n',
    ))  # fmt: skip
    ask(page, "question")
    page.wait_for_selector(".failure")
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".answer .place:text-is('2/2')")
    wait_for_answer(page)
    page.get_by_role("button", name="Previous version").click()
    assert page.inner_text(".answer .prose") == "half an answer"


def test_a_question_without_an_answer_has_a_button(tiny, open_english):
    page = open_english(tiny)
    ask_and_wait(page, "first")
    saved(page)
    page.evaluate(
        """() => new Promise((resolve) => {
            indexedDB.open('kinglet').onsuccess = ({ target: { result: db } }) => {
                const change = db.transaction(['chats', 'messages'], 'readwrite');
                const [chats, messages] = ['chats', 'messages'].map((s) => change.objectStore(s));
                messages.getAll().onsuccess = ({ target }) => messages.delete(
                    target.result.find(({ role }) => role === 'assistant').id);
                change.oncomplete = resolve;
            };
        })"""
    )
    page.reload()
    page.get_by_role("button", name="Answer this").click()
    wait_for_answer(page)
    assert page.get_by_role("button", name="Answer this").count() == 0


# ---- the address, drafts and the former page ------------------------------------------------------


def test_each_chat_has_an_address(tiny, open_english):
    page = open_english(tiny)
    ask_and_wait(page, "alpha")
    alpha = page.url
    assert re.search(r"/#c=[\da-f-]{36}$", alpha)
    new_chat(page)
    ask_and_wait(page, "beta")
    page.go_back()
    page.wait_for_selector(".bubble:text-is('alpha')")
    page.go_forward()
    page.wait_for_selector(".bubble:text-is('beta')")
    new_chat(page)
    page.go_back()
    page.wait_for_selector(".bubble:text-is('beta')")
    saved(page)

    tab = page.context.new_page()
    tab.goto(alpha)
    tab.wait_for_selector(".bubble:text-is('alpha')")
    tab.goto(alpha[:-36] + "00000000-0000-4000-8000-000000000000")
    tab.wait_for_selector(".toast")
    assert tab.locator("#welcome").is_visible() and "#" not in tab.url


def test_drafts_are_kept_per_chat(tiny, open_english):
    page = open_english(tiny)
    ask_and_wait(page, "alpha")
    page.fill("#message", "a draft in alpha")
    new_chat(page)
    assert page.input_value("#message") == ""
    page.fill("#message", "a draft of a new chat")
    page.get_by_role("link", name="alpha").click()
    page.wait_for_selector(".bubble:text-is('alpha')")
    assert page.input_value("#message") == "a draft in alpha"
    saved(page)
    page.wait_for_timeout(1200)
    page.reload()
    page.wait_for_selector(".bubble:text-is('alpha')")
    assert page.input_value("#message") == "a draft in alpha"
    new_chat(page)
    assert page.input_value("#message") == "a draft of a new chat"
    wait_for_titles(page, "alpha")

    # a new chat of another tab is another one; a draft that no tab shows is taken up
    other = page.context.new_page()
    other.goto(tiny.base_url)
    other.wait_for_selector("#send[data-action]")
    assert other.input_value("#message") == ""
    other.close()
    again = page.context.new_page()
    page.close()
    again.goto(tiny.base_url)
    again.wait_for_function("() => document.getElementById('message').value === 'a draft of a new chat'")


def test_the_former_conversation_is_taken_over_once(tiny, open_english):
    page = open_english(tiny)
    turns = [{"role": "user", "content": "old question"}, {"role": "assistant", "content": "old **answer**"}]
    page.evaluate(
        "(turns) => sessionStorage.setItem('kinglet.conversation', JSON.stringify(turns))", turns
    )
    page.reload()
    page.wait_for_selector(".answer strong:text-is('answer')")
    wait_for_titles(page, "old question")
    page.reload()
    page.wait_for_selector(".answer strong:text-is('answer')")
    wait_for_titles(page, "old question")


# ---- running answers and tabs ---------------------------------------------------------------------


def test_a_new_chat_does_not_stop_an_answer(server, open_english):
    page = open_english(server, LONG)
    ask(page, LONG_QUESTION)
    wait_for_text(page, 20)
    new_chat(page)
    assert page.locator("#rail li .pulse").count() == 1
    ask(page, "Say yes.")
    wait_for_answer(page)
    page.locator("#rail li", has_text="Write an essay").locator("a").click()
    page.wait_for_selector(".message[aria-busy]")
    wait_for_text(page, 60)
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_answer(page)
    page.wait_for_function("() => !document.querySelector('#rail .pulse')")


def test_two_tabs_show_the_same_chat(server, open_english):
    page = open_english(server, LONG)
    ask(page, LONG_QUESTION)
    wait_for_text(page, 10)
    saved(page)
    other = page.context.new_page()
    other.goto(page.url)
    wait_for_text(other, 10)
    length = len(other.inner_text(".answer .prose"))
    wait_for_text(other, length + 40)  # it grows there, too
    assert other.locator(".message[aria-busy]").count() == 1, "it was taken for interrupted"
    other.get_by_role("button", name="Stop", exact=True).click()
    for tab in (page, other):
        wait_for_answer(tab)
        assert "Stopped" in tab.inner_text(".answer .foot")
    other.wait_for_function(
        "(text) => document.querySelector('.answer .prose').innerText === text",
        arg=page.inner_text(".answer .prose"),
    )

    # both go on at the same time, in the same chat: nothing is lost
    for tab, word in ((page, "one"), (other, "two")):
        tab.evaluate("localStorage.setItem('kinglet.settings', '{\"maxTokens\": 8}')")
        tab.fill("#message", f"Say {word}")
    at = page.evaluate("Date.now() + 500")
    for tab in (page, other):
        tab.evaluate(
            "(at) => { const send = document.getElementById('composer');"
            " setTimeout(() => send.requestSubmit(), at - Date.now()); }",
            at,
        )
    for tab in (page, other):
        tab.wait_for_function("() => document.querySelectorAll('.message').length === 4")
        wait_for_answer(tab)
    saved(page)
    saved(other)
    page.wait_for_timeout(1200)
    messages = stored(page, "messages")
    assert {m["content"] for m in messages if m["role"] == "user"} == {LONG_QUESTION, "Say one", "Say two"}
    assert len(messages) == 6
    assert all(m["state"] != "writing" for m in messages if m["role"] == "assistant")


def test_an_answer_goes_on_in_another_tab(server, open_english):
    """A tab that is closed leaves its answer to those that show it."""
    page = open_english(server, LONG)
    ask(page, LONG_QUESTION)
    wait_for_text(page, 10)
    saved(page)
    other = page.context.new_page()
    other.goto(page.url)
    wait_for_text(other, 10)
    length = len(other.inner_text(".answer .prose"))
    page.close()
    wait_for_text(other, length + 100)
    other.keyboard.press("Escape")
    wait_for_answer(other)
    assert other.locator(".failure").count() == 0


def pids_of(directory):
    """The processes of a browser with that profile."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in command:
                yield int(entry.name)


def test_kill_of_the_browser_in_mid_answer(server, chromium, tmp_path):
    """The text up to the last second is there at the next start."""
    profile = tmp_path / "profile"

    def start():
        context = chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=CHROMIUM_OPTIONS, **ENGLISH
        )
        context.set_default_timeout(WAIT_MS)
        return context, context.new_page()

    context, page = start()
    page.goto(server.base_url)
    page.wait_for_selector("#send[data-action]")
    ask(page, LONG_QUESTION)
    wait_for_text(page, 10)
    text = page.text_content(".answer .prose").strip()
    address = page.url
    page.wait_for_timeout(1500)
    for pid in pids_of(profile):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    try:
        context.close()
    except Exception:  # noqa: BLE001 - it is gone, as it should be
        pass
    for lock in profile.glob("Singleton*"):
        lock.unlink()
    context, page = start()
    page.goto(address)
    page.wait_for_selector(".answer")
    assert page.text_content(".answer .prose").startswith(text)
    page.wait_for_selector(".failure, .answer .again, .message[aria-busy]")
    context.close()


# ---- files of chats -------------------------------------------------------------------------------

LLAMA = [
    {"harness": "llama.app", "type": "session", "id": "s1", "name": "From llama-ui", "lastModified": 1700000000000,
     "currNode": "a1"},
    {"type": "message", "message": {"id": "r", "parent": None, "role": "system", "type": "root", "content": "",
                                    "timestamp": 1700000000000, "convId": "s1", "children": ["q"]}},
    {"type": "message", "message": {"id": "q", "parent": "r", "role": "user", "type": "text",
                                    "content": "llama question", "timestamp": 1700000001000, "convId": "s1"}},
    {"type": "message", "message": {"id": "a1", "parent": "q", "role": "assistant", "type": "text",
                                    "content": "llama answer", "timestamp": 1700000002000, "convId": "s1"}},
    {"type": "message", "message": {"id": "a2", "parent": "q", "role": "assistant", "type": "text",
                                    "content": "another answer", "timestamp": 1700000003000, "convId": "s1"}},
]  # fmt: skip
OPEN_WEBUI = [{
    "id": "0b6d9c1e-7c1a-4c26-9c39-4c7e5a2b1f00", "user_id": "u", "title": "From Open WebUI",
    "chat": {
        "title": "From Open WebUI", "models": ["m"],
        "history": {"currentId": "b", "messages": {
            "a": {"id": "a", "parentId": None, "childrenIds": ["b"], "role": "user", "content": "web question",
                  "timestamp": 1710000000},
            "b": {"id": "b", "parentId": "a", "childrenIds": [], "role": "assistant", "content": "web answer",
                  "model": "m", "done": True, "timestamp": 1710000001}}},
        "messages": [],
    },
    "created_at": 1710000000, "updated_at": 1710000002, "archived": False, "pinned": True, "meta": {},
}]  # fmt: skip


def menu_of_all(page, item):
    page.get_by_role("button", name="More about all chats").click()
    page.get_by_role("menuitem", name=item).click()


def import_file(page, path):
    with page.expect_file_chooser() as chooser:
        menu_of_all(page, "Import chats")
    chooser.value.set_files(path)


def test_chats_of_other_programs_are_read(tiny, open_english, tmp_path):
    page = open_english(tiny)
    lines = "\n".join(json.dumps(record) for record in LLAMA)
    (tmp_path / "one.jsonl").write_text(lines)
    (tmp_path / "webui.json").write_text(json.dumps(OPEN_WEBUI))
    (tmp_path / "bad.json").write_text('{"no": "chats"}')
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chat.jsonl", lines.replace("From llama-ui", "From a ZIP"))
    legacy = [{"conv": {**LLAMA[0], "name": "Older llama-ui"}, "messages": [m["message"] for m in LLAMA[1:]]}]
    (tmp_path / "legacy.json").write_text(json.dumps(legacy, indent=2))
    for name in ("one.jsonl", "webui.json", "all.zip", "legacy.json"):
        import_file(page, tmp_path / name)
        page.wait_for_selector(f".toast:has-text('1 chat read from {name}')")
    import_file(page, tmp_path / "bad.json")
    page.wait_for_selector(".toast:has-text('bad.json is not a file of chats')")
    assert sorted(titles(page)) == ["From Open WebUI", "From a ZIP", "From llama-ui", "Older llama-ui"]
    assert page.locator("#rail h2").first.inner_text() == "Pinned"

    for title, question, answer, place in (
        ("From llama-ui", "llama question", "llama answer", "1/2"),
        ("From a ZIP", "llama question", "llama answer", "1/2"),
        ("Older llama-ui", "llama question", "llama answer", "1/2"),
        ("From Open WebUI", "web question", "web answer", None),
    ):
        page.get_by_role("link", name=title).click()
        page.wait_for_selector(f"#rail [aria-current]:has-text('{title}')")
        assert bubbles(page) == [question]
        assert page.inner_text(".answer .prose") == answer
        assert page.locator(".answer .place:visible").all_inner_texts() == ([place] if place else [])


PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_images_of_other_programs_are_named(tiny, open_english, tmp_path):
    """The model reads text: images of a file are left out, which is said; a message stays a message."""
    page = open_english(tiny)
    image = {"type": "IMAGE", "name": "cat.png", "base64Url": PIXEL}
    text = {"type": "TEXT", "name": "notes.txt", "content": "a line of notes"}
    lines = [LLAMA[0], LLAMA[1], {**LLAMA[2], "message": {**LLAMA[2]["message"], "extra": [image, text]}}, LLAMA[3]]
    (tmp_path / "one.jsonl").write_text("\n".join(json.dumps(record) for record in lines))
    import_file(page, tmp_path / "one.jsonl")
    page.wait_for_selector(".toast span:text-is('1 image was left out: the model reads text only. cat.png')")
    page.get_by_role("link", name="From llama-ui").click()
    page.wait_for_selector(".message.user .sent-file:has-text('notes.txt')")

    chat = {"id": "w", "title": "Only images", "history": {"currentId": "c", "messages": {
        "a": {"id": "a", "parentId": None, "role": "user", "content": "", "timestamp": 1710000000,
              "files": [{"type": "image", "name": "dog.png", "url": PIXEL}, {"type": "image", "url": PIXEL}]},
        "b": {"id": "b", "parentId": "a", "role": "assistant", "content": "A dog.", "timestamp": 1710000001},
        "c": {"id": "c", "parentId": "b", "role": "user", "timestamp": 1710000002, "content": [
            {"type": "text", "text": "And this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}}}}  # fmt: skip
    (tmp_path / "webui.json").write_text(json.dumps([{"chat": chat}]))
    import_file(page, tmp_path / "webui.json")
    page.wait_for_selector(".toast span:text-is('3 images were left out: the model reads text only. dog.png')")
    page.get_by_role("link", name="Only images").click()
    page.wait_for_selector("#rail [aria-current]:has-text('Only images')")
    assert bubbles(page) == ["[dog.png]\n[image]", "And this?"]
    assert page.inner_text(".answer .prose") == "A dog."


def test_export_and_import(tiny, open_english, tmp_path):
    page = open_english(tiny)
    ask_and_wait(page, "alpha: *one* / two")
    page.locator(".answer .again").click()
    page.wait_for_selector(".answer .place:text-is('2/2')")
    wait_for_answer(page)
    new_chat(page)
    ask_and_wait(page, "beta")
    with page.expect_download() as markdown:
        choose(page, "alpha", "Save as Markdown")
    assert markdown.value.suggested_filename == "alpha one two.md"
    text = markdown.value.path().read_text()
    assert text.startswith("# alpha: *one* / two\n") and "## You\n\nalpha: *one* / two\n\n## Answer\n" in text
    saved(page)
    page.wait_for_timeout(1200)
    with page.expect_download() as everything:
        menu_of_all(page, "Export all chats")
    path = tmp_path / "chats.json"
    everything.value.save_as(path)
    document = json.loads(path.read_text())
    assert document["format"] == "kinglet-chats" and len(document["chats"]) == 2
    assert [len(c["messages"]) for c in document["chats"]] == [2, 3]

    other = open_english(tiny)  # another browser
    import_file(other, path)
    wait_for_titles(other, *titles(page))
    other.get_by_role("link", name="alpha").click()
    other.wait_for_selector(".answer .place:text-is('2/2')")
    import_file(other, path)  # once more: nothing is doubled
    other.wait_for_selector(".toast")
    assert len(stored(other, "messages")) == 5
    assert len(titles(other)) == 2


# ---- chats on the server --------------------------------------------------------------------------


def pulled(page):
    """Makes the page look at the server, as it does when it becomes visible."""
    with page.expect_response(re.compile(r"/v1/chats$")):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def wait_until_sent(page):
    """Waits until the server has all that this browser has."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while True:
        unsent = [m["id"] for m in stored(page, "messages") if m.get("unsent")]
        heads = [c for c in stored(page, "chats") if c["current"] and not c.get("isPrivate")]
        stale = [
            c["title"] for c in heads
            if not c.get("sync") or any(json.loads(c["sync"]["head"])[n] != c[n] for n in ("title", "pinned", "current"))
        ]  # fmt: skip
        if not unsent and not stale:
            return
        assert time.monotonic() < deadline, (unsent, stale)
        page.wait_for_timeout(200)


def test_two_devices_share_the_chats(start_server, tiny_model_path, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history", model=tiny_model_path)
    phone, desk = open_english(server, **PHONE), open_english(server)
    desk.wait_for_selector("#rail .status:has-text('Kept on the server')")
    ask_and_wait(desk, "from the desk")
    wait_until_sent(desk)
    pulled(phone)
    phone.locator("#toggle-rail").tap()
    wait_for_titles(phone, "from the desk")
    phone.get_by_role("link", name="from the desk").tap()
    phone.wait_for_selector(".bubble:text-is('from the desk')")
    assert phone.inner_text(".answer .prose") == desk.inner_text(".answer .prose")
    assert phone.locator("#rail").is_hidden(), "a drawer closes when a chat is chosen"

    # both go on without the other's change: nothing is lost
    ask_and_wait(phone, "from the phone")
    ask_and_wait(desk, "from the desk again")
    choose(desk, "from the desk", "Rename")
    desk.keyboard.type("renamed")
    desk.keyboard.press("Enter")
    wait_until_sent(phone)
    wait_until_sent(desk)
    for page in (desk, phone):
        pulled(page)
        wait_until_sent(page)
    pulled(phone)
    phone.wait_for_function("() => document.querySelectorAll('.user .versions:not([hidden])').length === 1")
    contents = [
        sorted(m["content"] for m in stored(page, "messages") if m["role"] == "user") for page in (desk, phone)
    ]
    assert contents[0] == contents[1] == ["from the desk", "from the desk again", "from the phone"]

    # deleted on one, it goes on the other, which can have it back
    phone.locator("#toggle-rail").tap()
    wait_for_titles(phone, "renamed")
    desk.evaluate("() => { const now = Date.now; Date.now = () => now() - 9500; }")
    choose(desk, "renamed", "Delete")  # 9.5 s ago
    wait_for_titles(desk)
    desk.wait_for_timeout(300)
    desk.reload()
    deadline = time.monotonic() + WAIT_MS / 1000
    while stored(desk, "chats"):
        assert time.monotonic() < deadline
        desk.wait_for_timeout(200)
    pulled(phone)
    wait_for_titles(phone)
    phone.get_by_role("button", name="Undo").tap()
    wait_until_sent(phone)
    pulled(desk)
    wait_for_titles(desk, "renamed")


def test_a_chat_that_the_server_cannot_read_is_written_again(start_server, tiny_model_path, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history", model=tiny_model_path)
    page = open_english(server)
    page.wait_for_selector("#rail .status:has-text('Kept on the server')")
    ask_and_wait(page, "the damaged one")
    wait_until_sent(page)
    (file,) = (tmp_path / "history").glob("*/*")
    file.write_bytes(b"{" * 100)
    new_chat(page)
    ask_and_wait(page, "another one")  # so the list has changed
    wait_until_sent(page)
    pulled(page)
    wait_for_titles(page, "another one", "the damaged one")
    deadline = time.monotonic() + WAIT_MS / 1000
    while b"the damaged one" not in file.read_bytes():
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)
    wait_for_titles(page, "another one", "the damaged one")


def test_a_private_chat_stays_in_the_browser(start_server, tiny_model_path, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history", model=tiny_model_path)
    page = open_english(server)
    page.wait_for_selector("#rail .status:has-text('Kept on the server')")
    menu_of_all(page, "New private chat")
    ask_and_wait(page, "a secret")
    new_chat(page)
    ask_and_wait(page, "no secret")
    assert page.locator("#rail .icon-lock").count() == 1
    other = open_english(server)
    deadline = time.monotonic() + WAIT_MS / 1000
    while titles(other) != ["no secret"]:
        assert time.monotonic() < deadline
        pulled(other)
    choose(page, "no secret", "Make private")
    while titles(other):
        assert time.monotonic() < deadline
        pulled(other)
    assert sorted(titles(page)) == ["a secret", "no secret"]


def test_a_server_without_history_is_asked_once(tiny, open_english):
    page = open_english(tiny)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    ask_and_wait(page, "alpha")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(200)
    assert len([url for url in asked if "/v1/chats" in url]) == 1
    assert page.inner_text("#rail .status") == "Kept in this browser"


# ---- phones ---------------------------------------------------------------------------------------


def test_the_drawer_on_a_phone(tiny, open_english):
    page = open_english(tiny, **PHONE)
    ask_and_wait(page, "alpha")
    assert page.locator("#rail").is_hidden()
    page.locator("#toggle-rail").tap()
    assert page.locator("#rail").is_visible()
    assert page.evaluate("document.getElementById('rail').contains(document.activeElement)")
    assert page.evaluate("document.querySelector('footer').inert")
    small = page.evaluate(
        """() => [...document.querySelectorAll('#rail button, #rail a, #rail input')]
            .map((e) => [e.getBoundingClientRect(), e.outerHTML])
            .filter(([box]) => box.height < 40 || box.right > innerWidth).map(([, html]) => html)"""
    )
    assert small == [], "too small to touch, or outside"
    page.keyboard.press("Escape")
    assert page.locator("#rail").is_hidden()
    assert page.evaluate("document.activeElement.id") == "toggle-rail"
    assert not page.evaluate("document.querySelector('footer').inert")
    page.locator("#toggle-rail").tap()
    page.mouse.click(380, 400)
    assert page.locator("#rail").is_hidden()

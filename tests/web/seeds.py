"""Chats as the page stores them, for tests of what it shows."""

import uuid

PUT = """({ chat, messages }) => new Promise((resolve, reject) => {
    const request = indexedDB.open('kinglet');
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
        const change = request.result.transaction(['chats', 'messages'], 'readwrite');
        change.objectStore('chats').put(chat);
        for (const message of messages) change.objectStore('messages').put(message);
        change.onabort = () => reject(change.error);
        change.oncomplete = () => { request.result.close(); resolve(); };
    };
})"""


def open_chat(page, messages, **fields):
    """Stores a chat of these messages, each behind the one before, and shows it."""
    now = page.evaluate("Date.now()")
    chat = {
        "id": str(uuid.uuid4()), "title": "", "created": now, "changed": now, "pinned": False,
        "draft": "", "settings": {}, **fields,
    }  # fmt: skip
    stored, parent = [], None
    for i, message in enumerate(messages):
        times = {"created": now + i, "changed": now + i}
        stored.append({"id": str(uuid.uuid4()), "chat": chat["id"], "parent": parent, **times, **message})
        parent = stored[-1]["id"]
    chat["current"] = parent
    page.evaluate(PUT, {"chat": chat, "messages": stored})
    page.evaluate("(id) => { location.hash = 'c=' + id; }", chat["id"])
    page.reload()
    page.wait_for_selector(".message")

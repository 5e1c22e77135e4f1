"""Chats on the server where keys change, several are used in one browser, or the server loses chats: none
is lost, and none goes to the account of another key by itself."""

import json
import os
import signal
import time
import urllib.request
import uuid

import pytest
from test_kept_chats import (
    WAIT_MS, ask_and_wait, choose, new_chat, open_english, pulled, stored, titles, wait_for_titles,
    wait_until_sent,
)  # fmt: skip

AUNT, UNCLE = "the-key-of-the-aunt-1", "the-key-of-the-uncle-2"
__all__ = ["open_english"]


def write_keys(tmp_path, *lines):
    file = tmp_path / "keys"
    file.write_text("".join(line + "\n" for line in lines))
    file.chmod(0o600)
    return file


def change_keys(server, tmp_path, *lines):
    write_keys(tmp_path, *lines)
    os.kill(server.pid, signal.SIGHUP)


def api(server, path="", key="", method="GET", body=None):
    headers = {"Content-Type": "application/json", "If-None-Match": "*"} if body else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"{server.base_url}/v1/chats{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def kept(server, key=""):
    return sorted(chat["title"] for chat in api(server, key=key)["data"])


def wait_until_kept(server, *expected, key=""):
    deadline = time.monotonic() + WAIT_MS / 1000
    while kept(server, key) != sorted(expected):
        assert time.monotonic() < deadline, kept(server, key)
        time.sleep(0.1)


def sent(page):
    """Makes the page send what is new, as it does when it is hidden, and look at the server."""
    page.evaluate(
        """() => {
            Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
            delete document.visibilityState;
        }"""
    )
    pulled(page)


def use_key(page, server, key):
    page.goto(server.base_url + "/favicon.svg")
    page.goto(f"{server.base_url}/#key={key}")
    page.locator("#key-submit").click()
    page.wait_for_selector("#model[data-state=ready]")
    page.wait_for_selector("#rail .status:has-text('Kept on the server')")


@pytest.fixture
def keyed(start_server, tmp_path):
    keys = write_keys(tmp_path, f"{AUNT} aunt", f"{UNCLE} uncle")
    return start_server("--offline", "--history", tmp_path / "history", "--api-key-file", keys)


def test_two_keys_in_one_browser(keyed, open_english):
    page = open_english(keyed, path=f"/#key={AUNT}")
    page.wait_for_selector("#rail .status:has-text('Kept on the server')")
    ask_and_wait(page, "aunt sent")
    sent(page)
    wait_until_kept(keyed, "aunt sent", key=AUNT)
    def fail_hers(route):
        if AUNT in route.request.headers.get("authorization", ""):
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/chats**", fail_hers)
    new_chat(page)
    ask_and_wait(page, "aunt unsent")
    use_key(page, keyed, UNCLE)
    page.unroute("**/v1/chats**")
    ask_and_wait(page, "uncle")
    page.get_by_role("link", name="aunt sent").click()
    page.wait_for_selector(".bubble:text-is('aunt sent')")
    ask_and_wait(page, "the uncle goes on")
    sent(page)
    wait_until_kept(keyed, "uncle", key=UNCLE)
    sent(page)
    assert kept(keyed, UNCLE) == ["uncle"], "no chat of another key is sent"
    assert kept(keyed, AUNT) == ["aunt sent"]
    wait_for_titles(page, "aunt sent", "uncle", "aunt unsent")
    assert page.locator("#rail .mark[title^='Made with another key']").count() == 2

    # the user may say so
    choose(page, "aunt unsent", "Keep with this key")
    sent(page)
    wait_until_kept(keyed, "aunt unsent", "uncle", key=UNCLE)
    assert page.locator("#rail .mark[title^='Made with another key']").count() == 1

    # deleted with another key: it goes from the server with its own
    page.evaluate("() => { const now = Date.now; Date.now = () => now() - 9500; }")
    choose(page, "aunt sent", "Delete")  # 9.5 s ago
    page.wait_for_timeout(200)
    use_key(page, keyed, AUNT)
    page.wait_for_selector("#welcome", state="visible")
    wait_until_kept(keyed, key=AUNT)
    assert sorted(titles(page)) == ["aunt unsent", "uncle"]


def test_a_chat_of_another_key_goes_on_with_its_own(keyed, open_english):
    page = open_english(keyed, path=f"/#key={AUNT}")
    ask_and_wait(page, "aunt")
    sent(page)
    wait_until_kept(keyed, "aunt", key=AUNT)
    chat = page.url.partition("#c=")[2]
    use_key(page, keyed, UNCLE)
    page.get_by_role("link", name="aunt").click()
    page.wait_for_selector(".bubble:text-is('aunt')")
    ask_and_wait(page, "with another key")
    use_key(page, keyed, AUNT)
    wait_until_sent(page)
    said = [m["content"] for m in api(keyed, f"/{chat}", AUNT)["messages"] if m["role"] == "user"]
    assert said == ["aunt", "with another key"]
    assert kept(keyed, UNCLE) == []


def test_keys_get_names_and_are_replaced(start_server, open_english, tmp_path):
    keys = write_keys(tmp_path, AUNT)
    server = start_server("--offline", "--history", tmp_path / "history", "--api-key-file", keys)
    page = open_english(server, path=f"/#key={AUNT}")
    ask_and_wait(page, "soup")
    sent(page)
    wait_until_kept(server, "soup", key=AUNT)
    change_keys(server, tmp_path, f"{AUNT} aunt")  # begins a list of its own
    wait_until_kept(server, key=AUNT)
    pulled(page)
    wait_until_kept(server, "soup", key=AUNT)
    assert titles(page) == ["soup"]

    change_keys(server, tmp_path, f"{UNCLE} aunt")  # another key of the same name: the same list
    use_key(page, server, UNCLE)
    ask_and_wait(page, "bread")
    page.get_by_role("link", name="soup").click()
    page.wait_for_selector(".bubble:text-is('soup')")
    ask_and_wait(page, "more soup")
    sent(page)
    wait_until_kept(server, "bread", "soup", key=UNCLE)
    wait_until_sent(page)
    assert page.locator("#rail .mark[title^='Made with another key']").count() == 0


def touch_list(server):
    """Makes the list another one, and empty again."""
    path = f"/{uuid.uuid4()}"
    api(server, path, method="PUT", body={"title": "short"})
    api(server, path, method="DELETE")


def test_a_server_that_lost_its_only_chat_gets_it_again(start_server, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history")
    page = open_english(server)
    ask_and_wait(page, "the only one")
    sent(page)
    wait_until_sent(page)
    (file,) = (tmp_path / "history").glob("*/" + "?" * 64)
    file.unlink()
    touch_list(server)
    pulled(page)
    wait_until_kept(server, "the only one")
    assert titles(page) == ["the only one"]


def test_all_chats_are_deleted_on_another_device(start_server, open_english, tmp_path):
    server = start_server("--offline", "--history", tmp_path / "history")
    page = open_english(server)
    ask_and_wait(page, "one")
    new_chat(page)
    ask_and_wait(page, "two")
    sent(page)
    wait_until_kept(server, "one", "two")
    wait_until_sent(page)
    for chat in api(server)["data"]:
        api(server, f"/{chat['id']}", method="DELETE")
    pulled(page)
    wait_for_titles(page)
    assert kept(server) == []
    assert all(chat["deleted"] for chat in stored(page, "chats") if chat["current"])

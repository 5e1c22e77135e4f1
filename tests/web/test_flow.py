"""Answers that go on whatever happens, and what the page says of the connection meanwhile."""

import json
import re
import urllib.request

import pytest
from conversation import ask, wait_for_answer
from weak_network import WeakNetwork

GREEDY = {"temperature": 0, "maxTokens": 400, "system": ""}
LONG_QUESTION = "Write a long story about a fish and many sharks."
KEY = "a-long-enough-key-for-the-test"
PROSE = ".message:last-child .prose"


@pytest.fixture
def weak_network():
    """weak_network(server) -> WeakNetwork in front of it."""
    made = []

    def make(server):
        made.append(WeakNetwork(server.port))
        return made[-1]

    yield make
    for network in made:
        network.close()


@pytest.fixture
def open_english(open_page):
    return lambda url, settings=GREEDY, **options: open_page(url, settings, locale="en", **options)


def wait_for_text(page, length):
    page.wait_for_function(
        "([selector, n]) => document.querySelector(selector)?.textContent.length >= n",
        arg=[PROSE, length],
    )


def stored_answer(page):
    """The text of the last answer as the browser keeps it."""
    return page.evaluate(
        """() => new Promise((resolve) => {
            indexedDB.open('kinglet').onsuccess = ({ target }) => {
                const all = target.result.transaction('messages').objectStore('messages').getAll();
                all.onsuccess = () => {
                    target.result.close();
                    const answers = all.result.filter(({ role }) => role === 'assistant');
                    resolve(answers.sort((a, b) => a.created - b.created).at(-1).content);
                };
            };
        })"""
    )


def get(server, path):
    with urllib.request.urlopen(server.base_url + path, timeout=60) as response:
        return json.load(response)


def complete(server, body):
    """The answer that the server gives to the request of a page."""
    body = {**body, "stream": False}
    body.pop("stream_options")
    request = urllib.request.Request(
        server.base_url + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def ask_and_note(page, text):
    """Asks, and returns the body of the request."""
    with page.expect_request("**/v1/chat/completions") as request:
        ask(page, text)
    return request.value.post_data_json


def test_continue(server, open_english):
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 24})
    body = ask_and_note(page, LONG_QUESTION)
    assert body["context_policy"] == "trim" and "continue_final_message" not in body
    wait_for_answer(page)
    first = stored_answer(page)
    assert "length limit" in page.inner_text(".answer .stats")
    with page.expect_request("**/v1/chat/completions") as request:
        page.get_by_role("button", name="Continue").click()
    body = request.value.post_data_json
    assert body["continue_final_message"] is True
    assert body["messages"][-1] == {"role": "assistant", "content": first}
    page.wait_for_function("() => / · 48 tokens · /.test(document.querySelector('.stats')?.textContent)")
    whole = stored_answer(page)
    assert whole.startswith(first) and len(whole) > len(first)
    assert page.locator(".message").count() == 2
    stats = page.inner_text(".answer .stats")
    assert re.search(r"[\d.]+ tokens/s · first text [\d.]+ s · 48 tokens · \d+ % cached", stats), stats
    assert re.fullmatch(r"\d+ of 4,096 tokens", page.inner_text("#gauge"))


def test_a_stopped_answer_can_go_on(server, open_english):
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 2000})
    for _ in range(2):
        ask(page, LONG_QUESTION)
        wait_for_text(page, 20)
        assert page.title().startswith("✎ ")
        page.get_by_role("button", name="Stop", exact=True).click()
        wait_for_answer(page)
        assert not page.title().startswith("✎ ")
    assert re.search(r"Stopped · .*\d tokens", page.inner_text(".message:last-child .stats"))
    assert page.locator(".message:last-child .continue").is_visible()
    assert not page.locator(".continue").first.is_visible(), "only the last answer can go on"


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_an_answer_goes_on_after_a_break(kind, start_server, weak_network, open_english):
    """All its events arrive once: its text is that of an answer without a break."""
    server = start_server("--offline")
    network = weak_network(server)
    page = open_english(network.url)
    page.wait_for_selector("#model[data-state=ready]")
    page.clock.install()
    network.stall_after = 9000
    with page.expect_request("**/v1/answers/*") as reading:
        body = ask_and_note(page, "what is it")
        wait_for_text(page, 1)
        if kind == "cut":
            network.cut()
        else:
            page.clock.run_for(11_000)
    found = re.search(r"/v1/answers/[0-9a-f-]{36}\?from=(\d+)$", reading.value.url)
    assert found and int(found[1]) > 1, reading.value.url  # behind the first text
    wait_for_answer(page)
    assert stored_answer(page) == complete(server, body)
    assert page.locator(".failure").count() == 0


def test_the_server_is_killed_in_mid_answer(start_server, weak_network, model_path, open_english):
    server = start_server(model=model_path)
    network = weak_network(server)
    page = open_english(network.url, {**GREEDY, "maxTokens": 2000})
    ask(page, LONG_QUESTION)
    wait_for_text(page, 40)
    network.is_away = True
    server.process.kill()
    page.wait_for_selector(".state:has-text('Connection lost')")
    page.wait_for_selector("#connection:has-text('cannot be reached')")
    assert page.inner_text("#model") == "Not connected", "the model is gone"
    before = page.inner_text(PROSE)
    network.target = start_server(model=model_path).port
    network.is_away = False
    page.locator("#connect-now").click()
    wait_for_text(page, len(before) + 40)
    assert page.inner_text(PROSE).startswith(before[:-8]), "it goes on in the same text"
    assert page.locator(".message").count() == 2
    assert page.inner_text("#model").startswith("qwen2.5") and page.locator("#connection").is_hidden()
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_answer(page)


def test_an_answer_outlives_its_page(server, open_english):
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 120})
    body = ask_and_note(page, LONG_QUESTION)
    wait_for_text(page, 20)
    with page.expect_request("**/v1/answers/*"):
        page.reload()
    wait_for_text(page, 60)
    other = page.context.new_page()  # a second tab watches
    other.goto(page.url)
    wait_for_answer(page)
    wait_for_answer(other)
    assert stored_answer(page) == complete(server, body)
    assert page.inner_text(PROSE) == other.inner_text(PROSE)


def test_an_answer_is_stopped_after_its_page_was_left(server, open_english):
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 2000})
    ask(page, LONG_QUESTION)
    wait_for_text(page, 20)
    url = page.url
    page.goto(server.base_url + "/favicon.svg")
    assert get(server, "/health")["running"] == 1
    page.goto(url)
    wait_for_text(page, 60)
    with page.expect_request(lambda r: r.method == "DELETE" and "/v1/answers/" in r.url):
        page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_answer(page)
    page.reload()
    wait_for_answer(page)
    assert "Stopped" in page.inner_text(".message:last-child .stats")


def test_a_full_queue_counts_down(start_server, model_path, open_english):
    server = start_server("--parallel", 1, "--queue", 1, model=model_path)
    url = server.base_url + "/v1/chat/completions"
    body = {"messages": [{"role": "user", "content": LONG_QUESTION}], "max_tokens": 2000, "stream": True}
    headers = {"Content-Type": "application/json"}
    streams = []
    for _ in range(2):  # one runs, one waits
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        streams.append(urllib.request.urlopen(request, timeout=120))
        streams[-1].readline()
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 4})
    page.wait_for_selector("#model[data-state=busy]")
    page.clock.install()
    ask(page, "hello")
    page.wait_for_selector(".state:has-text('Trying again in')")
    for stream in streams:
        stream.close()
    page.clock.run_for(121_000)  # Retry-After is at most 120 s
    wait_for_answer(page)
    assert page.locator(".message").count() == 2
    assert page.locator(".failure").count() == 0


def answer_with(page, events):
    """Lets the next answers of the page consist of these events."""
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            content_type="text/event-stream",
            body="".join(f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n" for e in events),
        ),
    )


def test_a_finished_answer_never_fails(server, open_english):
    page = open_english(server.base_url)
    delta = {"choices": [{"index": 0, "delta": {"content": "All of it."}, "finish_reason": None}]}
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    answer_with(page, [delta, finish])  # the connection is lost before the figures
    ask(page, "hello")
    wait_for_answer(page)
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    page.reload()
    wait_for_answer(page)
    assert page.inner_text(PROSE).strip() == "All of it."
    assert page.locator(".failure").count() == 0

    page.unroute("**/v1/chat/completions")
    answer_with(page, [finish, "[DONE]"])
    ask(page, "hello")
    wait_for_answer(page)
    assert "nothing to say" in page.inner_text(".message:last-child")

    # an error in mid-stream: the text stays, and can go on
    page.unroute("**/v1/chat/completions")
    answer_with(page, [delta, {"error": {"message": "It broke.", "code": "internal_error"}}])
    ask(page, "hello")
    page.wait_for_selector(".failure:has-text('It broke.')")
    assert page.inner_text(PROSE).strip() == "All of it."
    assert page.locator(".failure .continue").is_visible()


def test_the_oldest_turns_are_left_out(start_server, open_english):
    server = start_server("--offline", "--ctx-size", 256, "--parallel", 1)
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 40})
    for i in range(6):
        ask(page, f"what is it {i} " * 8)
        page.wait_for_function("(n) => document.querySelectorAll('.answer .stats').length === n", arg=i + 1)
    line = page.locator(".reads-from")
    assert line.count() == 1
    before = "(e) => [...document.querySelectorAll('.message, .reads-from')].indexOf(e)"
    assert line.evaluate(before) >= 2, "some turns are left out"
    assert "user" in line.evaluate("(e) => e.nextElementSibling.className")
    assert "of 256 tokens" in page.inner_text("#gauge")
    page.reload()
    page.wait_for_selector(".reads-from")

    ask(page, "word " * 400)
    page.wait_for_selector(".failure:has-text('too long for the model')")
    page.locator("#message").fill("shorter")  # no dead end
    page.locator("#send").click()
    wait_for_answer(page)


def write_key(tmp_path):
    file = tmp_path / "keys"
    file.write_text(KEY + "\n")
    file.chmod(0o600)
    return file


def test_the_key(start_server, tmp_path, open_english):
    server = start_server("--offline", "--api-key-file", write_key(tmp_path))
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 4})
    page.wait_for_selector("#key-dialog[open]")
    page.keyboard.press("Escape")
    assert page.inner_text("#model") == "Key needed"
    page.locator("#enter-key").click()  # the way back
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    page.wait_for_selector("#key-error:has-text('does not accept')")
    assert page.locator("#key-dialog").evaluate("(e) => e.open")
    page.fill("#key", KEY)
    page.locator("#remember-key").check()
    page.press("#key", "Enter")
    page.wait_for_selector("#model[data-state=ready]")
    assert page.locator("#connection").is_hidden()
    ask(page, "hello")
    wait_for_answer(page)
    other = page.context.new_page()  # it is remembered
    other.goto(server.base_url)
    other.wait_for_selector("#model[data-state=ready]")

    other.locator("#model").click()
    assert '-H "Authorization: Bearer $KINGLET_KEY"' in other.inner_text("#box-curl")
    assert KEY not in other.content()
    other.locator("#forget-key").click()
    other.wait_for_selector("#model[data-state=keyNeeded]")
    assert other.evaluate("localStorage.getItem('kinglet.key')") is None


def test_a_key_in_the_address(start_server, tmp_path, open_english):
    server = start_server("--offline", "--api-key-file", write_key(tmp_path))
    page = open_english(f"{server.base_url}/#key={KEY}", {**GREEDY, "maxTokens": 4})
    page.wait_for_selector("#model[data-state=ready]")
    assert page.url == f"{server.base_url}/"
    ask(page, "hello")
    wait_for_answer(page)
    chat = page.url
    assert "#c=" in chat
    page.goto(f"{server.base_url}/favicon.svg")
    page.goto(f"{chat}&key={KEY}")
    wait_for_answer(page)
    assert page.url == chat, "the chat stays in the address"
    # another key is only taken if the user says so: it could be that of another person
    page.goto(f"{server.base_url}/favicon.svg")
    page.goto(f"{chat}&key=another-key-than-before")
    page.wait_for_selector("#key-dialog[open]:has-text('another key')")
    assert page.url == chat
    page.keyboard.press("Escape")
    ask(page, "hello")
    page.wait_for_function("() => document.querySelectorAll('.answer .stats').length === 2")


def answer_health_with(page, body):
    text = json.dumps(body)
    page.route("**/health", lambda route: route.fulfill(status=503, content_type="application/json", body=text))


def test_states_of_the_connection(start_server, open_english):
    server = start_server("--offline")
    page = open_english(server.base_url)
    page.wait_for_selector("#model[data-state=ready]")
    health = {"status": "loading", "version": "1", "uptime_seconds": 1}
    states = {
        "loading": {**health, "stage": "downloading", "stage_done": 42e6, "stage_total": 100e6},
        "stopping": {**health, "status": "stopping"},
        "offline": None,
    }
    for name, body in states.items():
        if body is None:
            page.route("**/health", lambda route: route.abort())
        else:
            answer_health_with(page, body)
        page.evaluate("dispatchEvent(new Event('online'))")
        page.wait_for_selector(f"#model[data-state={name}]")
        page.wait_for_selector(f"#connection[data-state={name}]", state="visible")
        assert "tiny" not in page.inner_text("#model")
        if name == "loading":
            said = page.inner_text("#connection-text")
            assert "42 % · 42 / 100 MB" in said and "only at the first start" in said
            bar = page.locator("#loading-bar")
            assert bar.get_attribute("value") == "42"
            assert bar.bounding_box()["width"] >= page.locator("header").bounding_box()["width"] - 1
        page.unroute("**/health")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("#model[data-state=ready]")
    assert page.locator("#connection").is_hidden()


def test_this_box(server, open_english):
    page = open_english(server.base_url, {**GREEDY, "maxTokens": 4})
    page.wait_for_selector("#model[data-state=ready]")
    page.locator("#model").click()
    health = get(server, "/health")
    facts = page.inner_text("#box-facts")
    assert health["model"] in facts and health["version"] in facts
    assert re.search(r"0 of 4 writing, 0 waiting", facts) and "MiB" in facts
    assert page.inner_text("#box-address") == f"{server.base_url}/v1"
    assert page.inner_text("#box-curl").startswith(f"curl {server.base_url}/v1/chat/completions -d ")
    assert page.get_by_role("link", name="Licences").get_attribute("href") == "licenses.txt"
    page.get_by_role("button", name="Close").click()
    assert page.evaluate("document.activeElement.id") == "model"

    # the title of a hidden tab tells that the answer is there
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    ask(page, "hello")
    wait_for_answer(page)
    assert page.title().startswith("✓ ")
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    assert not page.title().startswith("✓ ")

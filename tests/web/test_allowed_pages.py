"""Pages of other origins in a real browser: an allowed one uses the server with a key, streams, and reads
headers and errors; any other one gets nothing."""

import http.server
import threading

import pytest
from conftest import LAN_HOST

KEY = "the-key-123456"

# Returns the status, a header and the text of an answer, or "refused" if the browser does not show it.
ASK = """async ([url, method, headers, body]) => {
    try {
        const reply = await fetch(url, {method, headers, body});
        const pieces = [], reader = reply.body.getReader(), decoder = new TextDecoder();
        for (let piece; !(piece = await reader.read()).done;)
            pieces.push(decoder.decode(piece.value, {stream: true}));
        return [reply.status, reply.headers.get('x-request-id'), pieces.join('')];
    } catch {
        return ['refused', null, ''];
    }
}"""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """The port of another server on this computer, which has an empty page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def kept(server_factory, tiny_model_path, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    keys.chmod(0o600)
    server = server_factory("--offline", "--api-key-file", keys, "--allow-origin", "apps",
                            model=tiny_model_path)  # fmt: skip
    yield server
    server.end()


@pytest.fixture
def ask_from(browser):
    """ask_from(origin, url, method, headers, body) -> what a page of that origin gets."""
    contexts = []

    def ask(origin, *request):
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.goto(origin + "/")
        return page.evaluate(ASK, request)

    yield ask
    for context in contexts:
        context.close()


CHAT = '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3, "stream": true}'
HEADERS = {"Content-Type": "application/json", "X-Stainless-OS": "Linux"}


def test_an_allowed_page(ask_from, site, kept):
    origin, chat = f"http://localhost:{site}", kept.base_url + "/v1/chat/completions"
    status, request_id, text = ask_from(origin, chat, "POST", HEADERS | {"Authorization": f"Bearer {KEY}"}, CHAT)
    assert status == 200 and request_id and text.endswith("data: [DONE]\n\n")
    # the error of a wrong key, and of a wrong path, can be read, too
    status, request_id, text = ask_from(origin, chat, "POST", HEADERS | {"Authorization": "Bearer x"}, CHAT)
    assert status == 401 and request_id and "the API key is wrong" in text
    status, _, text = ask_from(origin, kept.base_url + "/v1/nowhere", "DELETE", {"x-api-key": KEY}, None)
    assert status == 404 and "/openapi.json" in text


def test_another_page(ask_from, site, kept):
    origin, chat = f"http://{LAN_HOST}:{site}", kept.base_url + "/v1/chat/completions"
    key = {"Authorization": f"Bearer {KEY}"}
    assert ask_from(origin, chat, "POST", HEADERS | key, CHAT)[0] == "refused"
    assert ask_from(origin, kept.base_url + "/v1/models", "GET", key, None)[0] == "refused"
    assert ask_from(origin, kept.base_url + "/health", "GET", {}, None)[0] == "refused"

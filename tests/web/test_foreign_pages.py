"""Pages of other sites, in a real browser on another computer of the LAN: no request that they can send
without a CORS preflight begins work; kinglet's own page and curl are answered. Uses LAN names over plain
http, where the browser sends no Sec-Fetch-Site."""

import http.server
import json
import re
import shlex
import subprocess
import threading
import time
from types import SimpleNamespace

import computers
import pytest
from conftest import CHROMIUM, CHROMIUM_OPTIONS

SOON = 30  # seconds, for operations that take milliseconds
POLICIES = ("no-referrer", "unsafe-url")

# Requests that a page can send to the address `url`: {kind: script}.
GETS = {
    "img": "new Image().src = url",
    "srcset": "new Image().srcset = url + ' 1x'",
    "script": "add('script', {src: url})",
    "module": "add('script', {src: url, type: 'module'})",
    "stylesheet": "add('link', {rel: 'stylesheet', href: url})",
    "prefetch": "add('link', {rel: 'prefetch', href: url})",
    "preload": "add('link', {rel: 'preload', as: 'image', href: url})",
    "font": "new FontFace('f', `url(${url})`).load().catch(() => 0)",
    "background": "add('div', {style: `background: url('${url}'); height: 9px`})",
    "iframe": "add('iframe', {src: url})",
    "sandbox": "add('iframe', {sandbox: 'allow-scripts', src: url})",
    "object": "add('object', {data: url})",
    "embed": "add('embed', {src: url})",
    "video": "add('video', {src: url, preload: 'auto'})",
    "audio": "add('audio', {src: url, preload: 'auto'})",
    "form": "form({method: 'get'}, {prompt: 'x'})",
    "fetch": "fetch(url).catch(() => 0)",
    "no-cors": "fetch(url, {mode: 'no-cors'})",
    "no-language": "fetch(url, {mode: 'no-cors', headers: {'Accept-Language': '', Accept: ''},"
                   " referrer: ''})",
    "with-cookies": "fetch(url, {mode: 'no-cors', credentials: 'include', cache: 'reload'})",
    "keepalive": "fetch(url, {mode: 'no-cors', keepalive: true})",
    "worker-fetch": "new Worker(URL.createObjectURL(new Blob([`fetch('${url}', {mode: 'no-cors'})`])))",
    "xhr": "const x = new XMLHttpRequest(); x.open('GET', url); x.send()",
    "events": "const e = new EventSource(url); e.onerror = () => e.close()",
    "socket": "new WebSocket(url.replace('http', 'ws'))",
    "window": "open(url, 'w' + url)",
    "no-opener": "open(url, '_blank', 'noopener,noreferrer')",
    "refresh": "add('iframe', {srcdoc: `<meta http-equiv=refresh content='0;url=${url}'>`})",
    "link": "add('a', {href: url, target: '_blank', rel: 'noreferrer'}).click()",
    "bounce": "add('iframe', {src: '/bounce?' + url})",
}  # fmt: skip
POSTS = {
    "post-form": "form({method: 'post'}, {prompt: 'x'})",
    "post-plain": "form({method: 'post', enctype: 'text/plain'}, {'{\"prompt\":\"': '\"}'})",
    "post-parts": "form({method: 'post', enctype: 'multipart/form-data'}, {prompt: 'x'})",
    "post-text": "fetch(url, {method: 'POST', mode: 'no-cors', body: prompt})",
    "post-fields": "fetch(url, {method: 'POST', mode: 'no-cors', body: new URLSearchParams({prompt})})",
    "post-blob": "fetch(url, {method: 'POST', mode: 'no-cors', body: new Blob([prompt])})",
    "post-type": "fetch(url, {method: 'POST', mode: 'no-cors', body: prompt,"
                 " headers: {'Content-Type': 'application/json'}})",  # the content type becomes text/plain
    "post-xhr": "const x = new XMLHttpRequest(); x.open('POST', url); x.send(prompt)",
    "beacon": "navigator.sendBeacon(url, prompt)",
    "beacon-blob": "navigator.sendBeacon(url, new Blob([prompt]))",
    "ping": "const a = add('a', {href: '#', ping: url}); a.click()",
    "sandbox-form": "add('iframe', {sandbox: 'allow-scripts allow-forms', srcdoc:"
                    " `<form method=post enctype=text/plain action='${url}'><input name=x></form>"
                    "<script>document.forms[0].submit()</script>`})",
}  # fmt: skip
HELPERS = """(url) => {
    const prompt = '{"prompt":"x","max_new_tokens":1}';
    const add = (name, attributes) => {
        const node = document.createElement(name);
        for (const key in attributes) node.setAttribute(key, attributes[key]);
        document.body.append(node);
        return node;
    };
    const form = (attributes, fields) => {
        const frame = 'frame' + document.forms.length;
        add('iframe', {name: frame});
        const node = add('form', {...attributes, action: url, target: frame});
        for (const name in fields) {
            const input = document.createElement('input');
            input.name = name;
            input.value = fields[name];
            node.append(input);
        }
        node.submit();
    };
    SCRIPT;
}"""
BEGUN = re.compile(r"^kinglet_(?:steps_total|requests_total{.*}|tokens_total{.*}) .*$", re.M)


class Site(http.server.ThreadingHTTPServer):
    """Another site, which records its requests: .seen, [(method, path, headers)]."""

    daemon_threads = True

    def __init__(self, address):
        super().__init__(address, Visit)
        self.seen = []


class Visit(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.command, self.path, dict(self.headers.items())))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        self.send_response(302 if path == "/bounce" else 200)
        if path == "/bounce":
            self.send_header("Location", query)
        elif path == "/page":
            self.send_header("Referrer-Policy", query)
            self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def lan(chromium, server_factory, tiny_model_path, tmp_path_factory):
    """.server on one computer, under the name box.lan; a browser (.context) and the site evil.lan,
    also called other.lan, on the other one."""
    names = "MAP box.lan 10.77.0.1, MAP evil.lan 10.77.0.2, MAP other.lan 10.77.0.2"
    arguments = [*CHROMIUM_OPTIONS[:-1], f"--host-resolver-rules={names}", "--disable-popup-blocking"]
    with computers.two_computers() as (box, other):
        server = server_factory("--offline", "--host", "0.0.0.0", "--no-auth", "--allow-host",
                                "box.lan", model=tiny_model_path, computer=box)  # fmt: skip
        try:
            there = tmp_path_factory.mktemp("there") / "chromium"
            there.write_text(f"#!/bin/sh\nexec {shlex.join(other.command(CHROMIUM))} \"$@\"\n")
            there.chmod(0o755)
            site = other.run(Site, ("10.77.0.2", 8000))
            threading.Thread(target=site.serve_forever, daemon=True).start()
            browser = chromium.launch(executable_path=there, args=arguments)
            context = browser.new_context()
            context.set_default_timeout(SOON * 1000)
            yield SimpleNamespace(server=server, other=other, site=site, context=context,
                                  url=f"http://box.lan:{server.port}")  # fmt: skip
            browser.close()
            site.shutdown()
            site.server_close()
        finally:
            server.end()


def ask(lan, path, *options):
    """Runs curl on the other computer; returns (status, body)."""
    done = subprocess.run(
        lan.other.command("curl", "-sS", "-w", "\n%{http_code}", *options,
                          f"http://10.77.0.1:{lan.server.port}{path}"),
        capture_output=True, text=True, check=True, timeout=SOON,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def begun(lan):
    """Returns all counters of work."""
    status, text = ask(lan, "/metrics")
    found = BEGUN.findall(text)
    assert status == 200 and len(found) > 10
    return found


def refusals(lan):
    lines = [line for line in lan.server.log_text().splitlines() if " /chat, status " in line]
    assert all(" status 403," in line for line in lines), lines
    return len(lines)


def until(condition, what):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def run(page, script, url):
    page.evaluate(HELPERS.replace("SCRIPT", script), url)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_foreign_page_begins_work(lan, policy):
    before = begun(lan)
    page = lan.context.new_page()
    page.goto(f"http://evil.lan:8000/page?{policy}")
    for kind, script in (GETS | POSTS).items():
        n = refusals(lan)
        run(page, script, f"{lan.url}/chat?prompt={kind}&max_new_tokens=1")
        until(lambda: refusals(lan) > n, f"{kind}: it does not reach the server")
    assert begun(lan) == before


def test_what_browsers_send(lan):
    """Checks the assumptions of the rule: requests to LAN names have no Sec-Fetch-Site and, for GET, no
    Origin; they always have Accept-Language and Mozilla/, and POST has an Origin."""
    page = lan.context.new_page()
    page.goto("http://evil.lan:8000/page?no-referrer")
    for kind, script in (GETS | POSTS).items():
        path = f"/seen?{kind}"
        run(page, script, f"http://other.lan:8000{path}")
        # a GET form replaces the query of its address with this
        paths = (path, "/seen?prompt=x")
        until(lambda: any(s[1] in paths for s in lan.site.seen), kind)
        method, _, headers = next(s for s in lan.site.seen if s[1] in paths)
        lan.site.seen.clear()
        lower = {name.lower(): value for name, value in headers.items()}
        assert "sec-fetch-site" not in lower, kind
        # Chromium sends a Referer for images in a style, with any policy
        assert lower.get("referer") in (None, "http://evil.lan:8000/"), kind
        assert "Mozilla/" in lower["user-agent"], kind
        assert method == ("POST" if kind in POSTS else "GET"), kind
        assert "accept-language" in lower, kind
        if method == "POST":
            assert lower["origin"] in ("null", "http://evil.lan:8000"), kind
        assert not lower.get("content-type", "").startswith("application/json"), kind


def test_the_own_page_and_curl_are_answered(lan):
    page = lan.context.new_page()
    page.goto(lan.url)
    page.wait_for_selector("#send[data-action]")
    texts = page.evaluate("""(url) => new Promise((resolve, reject) => {
        const source = new EventSource(url), texts = [];
        source.onmessage = ({ data }) => {
            if (data === '[DONE]') { source.close(); resolve(texts); }
            else texts.push(data);
        };
        source.onerror = () => reject(Error('refused'));
    })""", "/chat?prompt=x&max_new_tokens=2")  # fmt: skip
    assert any("text" in json.loads(t) for t in texts)
    assert page.evaluate("fetch('/chat?prompt=x&max_new_tokens=1').then(r => r.status)") == 200
    page.fill("#message", "Hello")
    page.press("#message", "Enter")
    page.wait_for_selector(".answer .again")
    assert page.locator(".answer .stats").count() == 1, "the page shows no answer"
    for path in ("/health", "/live", "/ready", "/v1/models", "/"):
        assert page.goto(lan.url + path).status == 200, path

    for options in ((), ("-d", '{"prompt":"x","max_new_tokens":1}'),
                    ("-H", "Content-Type: text/plain", "-d", '{"prompt":"x","max_new_tokens":1}')):
        status, body = ask(lan, "/chat" if options else "/chat?prompt=x&max_new_tokens=1", *options)
        assert (status, body.rstrip().endswith("[DONE]")) == (200, True), options

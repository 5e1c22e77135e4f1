"""The page as an application: its manifest, and the worker that keeps its files."""

import json
import struct
import urllib.request

import pytest
from conftest import LAN_HOST

WORKER = {"service_workers": "allow"}
KEPT = """async () => (await (await caches.open('kinglet')).keys())
    .map(({ url }) => new URL(url).pathname).sort()"""


@pytest.fixture
def tiny(server_factory, tiny_model_path):
    server = server_factory("--offline", "--allow-host", LAN_HOST, model=tiny_model_path)
    yield server
    server.end()


def fetched(server, path):
    with urllib.request.urlopen(server.base_url + path, timeout=30) as response:
        return response.headers, response.read()


def test_manifest_and_icons(tiny):
    headers, body = fetched(tiny, "/manifest.webmanifest")
    assert headers["Content-Type"] == "application/manifest+json"
    manifest = json.loads(body)
    assert manifest["display"] == "standalone" and manifest["start_url"] == "./"
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    for icon in manifest["icons"]:
        headers, body = fetched(tiny, "/" + icon["src"])
        assert headers["Content-Type"] == icon["type"]
        assert body.startswith({"image/svg+xml": b"<svg", "image/png": b"\x89PNG"}[icon["type"]])
    # iOS reads no SVG, and asks for this name
    headers, body = fetched(tiny, "/apple-touch-icon.png")
    assert headers["Content-Type"] == "image/png" and struct.unpack(">II", body[16:24]) == (180, 180)


def test_browser_accepts_the_manifest(tiny, open_page):
    page = open_page(tiny.base_url)
    found = page.context.new_cdp_session(page).send("Page.getAppManifest")
    assert found["errors"] == [] and found["url"].endswith("/manifest.webmanifest")
    fits = page.evaluate(
        """async () => {
            const icon = new Image();
            icon.src = 'maskable.svg';
            await icon.decode();
            return icon.naturalWidth > 0;
        }"""
    )
    assert fits


# the largest difference of a pixel, and the mean of all, between a PNG file and the browser's SVG
DIFFERENCE = """async ([png, svg, size]) => {
    const pixels = async (source) => {
        const image = new Image(size, size);
        image.src = source;
        await image.decode();
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = size;
        const context = canvas.getContext('2d');
        context.fillStyle = '#808080';
        context.fillRect(0, 0, size, size);
        context.drawImage(image, 0, 0, size, size);
        return { data: context.getImageData(0, 0, size, size).data, width: image.naturalWidth };
    };
    const [a, b] = [await pixels(png), await pixels(svg)];
    let sum = 0;
    a.data.forEach((value, i) => { sum += Math.abs(value - b.data[i]); });
    return { mean: sum / a.data.length, width: a.width };
}"""


def test_png_icons_look_like_the_svg(tiny, open_page):
    page = open_page(tiny.base_url)
    for png, svg, size in (
        ("apple-touch-icon.png", "maskable.svg", 180), ("icon-192.png", "favicon.svg", 192),
        ("icon-512.png", "favicon.svg", 512), ("maskable-512.png", "maskable.svg", 512),
    ):  # fmt: skip
        found = page.evaluate(DIFFERENCE, [png, svg, size])
        assert found["width"] == size
        assert found["mean"] < 0.5, (png, found)  # of 255


def controlled(page):
    page.wait_for_function("() => navigator.serviceWorker.controller !== null")
    page.reload()
    page.wait_for_selector("#model:not(:empty)")


def test_worker_keeps_the_page_and_never_the_api(tiny, open_page):
    page = open_page(tiny.base_url, {"maxTokens": 4}, **WORKER)
    controlled(page)
    page.fill("#message", "Hello")
    page.press("#message", "Enter")
    page.wait_for_selector(".message:last-child .again")
    kept = page.evaluate(KEPT)
    assert "/" in kept and any(path.startswith("/app-") for path in kept)
    strange = [p for p in kept if p not in ("/", "/favicon.svg") and not p.endswith((".js", ".css"))]
    assert strange == []
    assert not any("worker" in path for path in kept)

    # without the server the page opens, with its chats; no answer of the API is made up
    tiny.end()
    page.reload()
    page.wait_for_selector(".message.user")
    assert page.evaluate("fetch('v1/models').then(() => 'answer', () => 'none')") == "none"


def test_old_worker_never_serves_an_old_page(tiny, open_page):
    page = open_page(tiny.base_url, **WORKER)
    controlled(page)
    page.evaluate(
        """async () => {
            const cache = await caches.open('kinglet');
            const options = { headers: { 'Content-Type': 'text/html', ETag: '"old"' } };
            await cache.put(new URL('./', location), new Response('<h1>old page</h1>', options));
            await cache.put(new URL('old-0123456789abcdef.js', location), new Response('old'));
        }"""
    )
    page.reload()
    page.wait_for_selector("#send[data-action]")
    assert "old page" not in page.content()
    page.wait_for_function(f"() => ({KEPT})().then((kept) => kept.length > 1)")
    assert "/old-0123456789abcdef.js" not in page.evaluate(KEPT), "files of another version"
    tiny.end()
    page.reload()
    page.wait_for_selector("#send[data-action]")
    assert "old page" not in page.content()


def test_plain_http_in_a_network_has_no_worker(tiny, open_page):
    page = open_page(f"http://{LAN_HOST}:{tiny.port}", **WORKER)
    assert page.evaluate("window.isSecureContext") is False
    assert page.evaluate("navigator.serviceWorker") is None

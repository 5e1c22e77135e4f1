// The service worker. It keeps the page and the files that it loads, and nothing else: requests of the
// API are not touched. A server that answers is always asked for the page first, so a new version of the
// program is never hidden by an old page; only if there is no answer at all the kept page is shown.

const NAME = 'kinglet';
const PAGE = new URL('./', self.location.href).href;
const ICON = new URL('favicon.svg', PAGE).href;
const IMMUTABLE = /-[0-9A-Za-z]{8,16}\.(?:js|css)$/; // a name with a digest: see embed.py

const isKeepable = ({ status, type }) => status === 200 && type === 'basic';

/** Keeps a new page. Another version has other files: those of the older one go. */
async function keepPage(cache, response) {
    const known = await cache.match(PAGE, { ignoreVary: true });
    if (known?.headers.get('ETag') !== response.headers.get('ETag')) {
        const kept = await cache.keys();
        await Promise.all(kept.map((request) => cache.delete(request, { ignoreVary: true })));
    }
    await cache.put(PAGE, response);
}

async function fromServer(request, url) {
    const cache = await caches.open(NAME);
    let response;
    try {
        response = await fetch(request);
    } catch (error) {
        const kept = await cache.match(url, { ignoreVary: true });
        if (kept) return kept;
        throw error;
    }
    if (isKeepable(response)) {
        const copy = response.clone();
        await (url === PAGE ? keepPage(cache, copy) : cache.put(url, copy)).catch(() => {}); // no space
    }
    return response;
}

async function immutable(request) {
    const cache = await caches.open(NAME);
    const kept = await cache.match(request, { ignoreVary: true });
    if (kept) return kept;
    const response = await fetch(request);
    if (isKeepable(response)) await cache.put(request, response.clone()).catch(() => {});
    return response;
}

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
    const { request } = event;
    const url = new URL(request.url);
    if (request.method !== 'GET' || url.origin !== self.location.origin) return;
    url.hash = '';
    url.search = '';
    if (request.mode === 'navigate' && url.href === PAGE) event.respondWith(fromServer(request, PAGE));
    else if (url.href === ICON) event.respondWith(fromServer(request, ICON));
    else if (IMMUTABLE.test(url.pathname)) event.respondWith(immutable(request));
});

// Receives one answer, in a thread of its own: each token wakes it, and the page some twenty times a
// second. It gets {path, options} for fetch(), and posts {head: {status, statusText, headers}}, {body} if
// the server refuses, or what serverSentEvents() yields as {found}, and {isEnd}; {error} instead, a text,
// if the connection fails. The page ends it.

import { serverSentEvents } from './connection/events.js';

async function receive({ path, options }) {
    const response = await fetch(path, options);
    const { ok, status, statusText, headers } = response;
    postMessage({ head: { status, statusText, headers: [...headers] } });
    if (!ok) {
        postMessage({ body: await response.text() });
        return;
    }
    for await (const found of serverSentEvents(response.body)) postMessage({ found });
    postMessage({ isEnd: true });
}

addEventListener('message', ({ data }) => {
    receive(data).catch((error) => postMessage({ error: String(error) }));
});

// One answer of the model as it is written, or read again from where a reader left it.

import { ApiError, accessHeaders, failure } from './api.js';
import { progressOf } from './events.js';

const SILENCE_S = 10; // the server lets no stream be silent for more than a second
const AWAKE_S = 3; // the same when the page is seen again, or the network is back

/** Calls `onSilence()` when no sign of life has come for a while. */
class Watchdog {
    #silent = 0;
    #timer;
    #end = new AbortController();

    constructor(onSilence) {
        // It counts ticks, not time: a computer that slept has not waited.
        this.#timer = setInterval(() => {
            if (++this.#silent >= SILENCE_S) onSilence();
        }, 1000);
        const { signal } = this.#end;
        document.addEventListener('visibilitychange', () => this.#hurry(), { signal });
        window.addEventListener('online', () => this.#hurry(), { signal });
    }

    alive() {
        this.#silent = 0;
    }

    end() {
        clearInterval(this.#timer);
        this.#end.abort();
    }

    /** A phone that slept may have lost its connections without knowing it. */
    #hurry() {
        if (!document.hidden) this.#silent = Math.max(this.#silent, SILENCE_S - AWAKE_S);
    }
}

let spare = null;

/** Starts the worker of the next answer, which then does not wait for it. */
export function prepareWorker() {
    if (spare) return;
    const worker = new Worker('stream_worker.js');
    worker.onerror = () => { if (spare === worker) spare = null; };
    spare = worker;
}

/** Yields the messages of stream_worker.js to its end; throws the reason of `signal`, or an Error. */
async function* messagesOf(request, signal) {
    signal.throwIfAborted();
    prepareWorker();
    const worker = spare;
    spare = null;
    const messages = [];
    let wake = () => {};
    const post = (message) => {
        messages.push(message);
        wake();
    };
    const watchdog = new Watchdog(() => post({ error: 'the connection is silent' }));
    const abort = () => post({});
    signal.addEventListener('abort', abort);
    worker.onmessage = ({ data }) => {
        watchdog.alive();
        post(data);
    };
    worker.onerror = () => post({ error: 'the worker did not start' });
    worker.postMessage(request);
    try {
        for (;;) {
            if (messages.length === 0) await new Promise((resolve) => { wake = resolve; });
            signal.throwIfAborted();
            const message = messages.shift();
            if (message.error) throw new Error(message.error);
            if (message.isEnd) return;
            yield message;
        }
    } finally {
        watchdog.end();
        signal.removeEventListener('abort', abort);
        worker.terminate(); // ends the request
    }
}

/** Returns what a chunk of the stream says, as an event (see read()). */
function eventOf(data) {
    if (data === '[DONE]') return { isDone: true };
    const chunk = JSON.parse(data);
    if (chunk.error) {
        throw new ApiError(chunk.error.message ?? '', { code: chunk.error.code ?? '' });
    }
    const { delta, finish_reason: finish } = chunk.choices?.[0] ?? {};
    const event = { delta: delta ?? {} };
    if (finish) event.finish = finish;
    if (chunk.usage) event.usage = chunk.usage;
    if (chunk.timings) event.timings = chunk.timings;
    if (chunk.x_kinglet?.ended_by) event.endedBy = chunk.x_kinglet.ended_by;
    if (chunk.x_kinglet?.messages_left_out) event.leftOut = chunk.x_kinglet.messages_left_out;
    return event;
}

/** Returns what each of a list says, up to the first `error`. */
function eventsOf(found) {
    const events = [];
    try {
        for (const { comment, data } of found) {
            const progress = comment === undefined ? null : progressOf(comment);
            if (progress) events.push({ progress });
            else if (comment === undefined) events.push(eventOf(data));
        }
    } catch (error) {
        return { events, error };
    }
    return { events };
}

/**
 * Yields lists, in the order of the stream, of {progress} for comments ({stage, percent} while the model
 * loads, {place, seconds} in the queue, {percent} of the computed prompt), and for each event one of
 * {isDone}, or {delta, finish, endedBy, leftOut, usage, timings}, of which all but `delta` may be missing.
 * Throws ApiError, or the signal's AbortError.
 */
async function* read(path, { signal, ...options }) {
    let head = null;
    try {
        let isDone = false;
        for await (const message of messagesOf({ path, options }, signal)) {
            head ??= message.head;
            if (message.body !== undefined) throw await failure(new Response(message.body, head));
            if (!message.found) continue;
            const { events, error } = eventsOf(message.found);
            isDone ||= events.at(-1)?.isDone === true; // the body ends now; reading on keeps the connection
            yield events;
            if (error) throw error;
        }
        if (!isDone) throw new ApiError('the stream ended early', { code: 'interrupted' });
    } catch (error) {
        if (signal.aborted || error instanceof ApiError) throw error;
        throw new ApiError(error.message, { code: head?.status === 200 ? 'interrupted' : 'unreachable' });
    }
}

/** Requests a chat completion, which goes on under this ID when the page leaves. See read(). */
export function complete(request, { answerId, signal }) {
    const streamed = { ...request, stream: true, stream_options: { include_usage: true } };
    return read('v1/chat/completions', {
        method: 'POST',
        headers: {
            'Content-Type': 'application/json', 'X-Answer-Id': answerId, ...accessHeaders(),
        },
        body: JSON.stringify(streamed),
        signal,
    });
}

/** Reads an answer from its event `from` on. See read(). */
export function readAnswer(answerId, from, { signal }) {
    return read(`v1/answers/${answerId}?from=${from}`, {
        headers: accessHeaders(), cache: 'no-store', signal,
    });
}

/** Stops an answer, also if the page leaves now. */
export async function stopAnswer(answerId) {
    const options = { method: 'DELETE', headers: accessHeaders(), keepalive: true };
    await fetch(`v1/answers/${answerId}`, options).catch(() => {});
}

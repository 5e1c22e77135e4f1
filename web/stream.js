// Parses server-sent events from a fetch body, and a chat completion from these events.

/** A failed request: `status` is 0 if the server sent none. */
export class ApiError extends Error {
    constructor(message, { status = 0, code = '', retryAfter = 0 } = {}) {
        super(message);
        this.name = 'ApiError';
        this.status = status;
        this.code = code;
        this.retryAfter = retryAfter;
    }
}

/**
 * Parses server-sent events from a ReadableStream of bytes, wherever its chunks are cut: inside a
 * character, between CR and LF, inside a line. Yields {comment} as soon as its line is complete and
 * {event, data} at the blank line that ends an event. An incomplete event at the end is dropped.
 */
export async function* serverSentEvents(body) {
    const decoder = new TextDecoder();
    const reader = body.getReader();
    let rest = '';
    let event = '';
    let data = [];
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            rest += decoder.decode(value, { stream: true });
            // a CR at the end may be half of a CR LF: it is kept for the next chunk
            const lines = rest.split(/\r\n|\n|\r(?!$)/);
            rest = lines.pop();
            for (const line of lines) {
                if (line === '') {
                    if (data.length > 0) yield { event: event || 'message', data: data.join('\n') };
                    event = '';
                    data = [];
                    continue;
                }
                const [, name, content] = /^([^:]*)(?:: ?)?([^]*)$/.exec(line);
                if (name === '') yield { comment: content };
                else if (name === 'data') data.push(content);
                else if (name === 'event') event = content;
            }
        }
    } finally {
        // closing the stream ends the request, so that the server stops computing
        reader.cancel().catch(() => {});
    }
}

/** Parses a comment of the server about the time before the first text; null if it is none. */
export function progressOf(comment) {
    const queue = /^queue (\d+)(?:, about (\d+(?:\.\d+)?) s)?/.exec(comment);
    if (queue) return { place: Number(queue[1]), seconds: Number(queue[2] ?? 0) };
    const prefill = /^prefill (\d+(?:\.\d+)?) ?%/.exec(comment);
    if (prefill) return { percent: Math.round(Number(prefill[1])) };
    const loading = /^loading, (\w+)(?: (\d+)%)?/.exec(comment);
    if (loading) return { stage: loading[1], percent: loading[2] && Number(loading[2]) };
    return null;
}

/** Returns {stage, percent} as above while the server loads its model; otherwise null. */
export async function fetchLoading() {
    const response = await fetch('health');
    const { status, stage, stage_done: done, stage_total: total } = await response.json();
    if (status !== 'loading') return null;
    return { stage, percent: total > 0 ? Math.round(100 * done / total) : undefined };
}

function headersWith(key) {
    return key === '' ? {} : { Authorization: `Bearer ${key}` };
}

async function failure(response) {
    let error = null;
    try {
        ({ error } = await response.json());
    } catch {
        // a proxy in front of the server has error formats of its own, for instance HTML
    }
    return new ApiError(error?.message ?? response.statusText, {
        status: response.status,
        code: error?.code ?? '',
        retryAfter: Number(response.headers.get('Retry-After') ?? 0) || 0,
    });
}

/** Returns the name of the first model that the server offers. */
export async function fetchModel(key) {
    const response = await fetch('v1/models', { headers: headersWith(key) });
    if (!response.ok) throw await failure(response);
    const { data } = await response.json();
    return data?.[0]?.id ?? '';
}

/**
 * Requests a chat completion and yields, in the order of the stream: {stage, percent} while the model
 * loads, {place, seconds} in the queue, {percent} of the computed prompt, {text}, {finish: reason,
 * endedBy}, {usage}. Throws ApiError, or the signal's AbortError.
 */
export async function* complete(request, { key, signal }) {
    const streamed = { ...request, stream: true, stream_options: { include_usage: true } };
    let response;
    try {
        response = await fetch('v1/chat/completions', {
            method: 'POST',
            headers: { 'Content-Type': 'application/json', ...headersWith(key) },
            body: JSON.stringify(streamed),
            signal,
        });
    } catch (error) {
        if (signal.aborted) throw error;
        throw new ApiError(error.message, { code: 'unreachable' });
    }
    if (!response.ok) throw await failure(response);

    let finished = false;
    try {
        for await (const { comment, data } of serverSentEvents(response.body)) {
            if (comment !== undefined) {
                const progress = progressOf(comment);
                if (progress) yield progress;
                continue;
            }
            if (data === '[DONE]') {
                finished = true; // the body ends now; reading it to its end keeps the connection
                continue;
            }
            const chunk = JSON.parse(data);
            if (chunk.error) {
                const { message, code } = chunk.error;
                throw new ApiError(message ?? '', { code: code ?? '' });
            }
            const choice = chunk.choices?.[0];
            if (choice?.delta?.content) yield { text: choice.delta.content };
            if (choice?.finish_reason) {
                finished = true;
                yield { finish: choice.finish_reason, endedBy: chunk.x_kinglet?.ended_by };
            }
            if (chunk.usage) yield { usage: chunk.usage };
        }
    } catch (error) {
        if (signal.aborted || error instanceof ApiError) throw error;
        throw new ApiError(error.message, { code: 'interrupted' });
    }
    if (!finished) throw new ApiError('the stream ended early', { code: 'interrupted' });
}

// Reads a stream of server-sent events, and the comments of the server among them.

// The pieces of this time are passed on together: a token by itself costs a slow device more than its
// text does, and the eye sees some twenty changes a second.
const BATCH_MS = 50;

/** Parses server-sent events, wherever their bytes are cut: inside a character, a CR LF, a line. */
export class EventParser {
    #decoder = new TextDecoder();
    #rest = '';
    #event = '';
    #data = [];

    /**
     * Returns what is complete with these bytes: {comment} for the line of one, and {event, data} for the
     * blank line that ends an event. An incomplete event at the end of the stream is dropped.
     */
    take(bytes) {
        this.#rest += this.#decoder.decode(bytes, { stream: true });
        // a CR at the end may be half of a CR LF: it is kept for the next bytes
        const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
        this.#rest = lines.pop();
        return lines.flatMap((line) => this.#line(line));
    }

    #line(line) {
        if (line === '') {
            const found = { event: this.#event || 'message', data: this.#data.join('\n') };
            const isEvent = this.#data.length > 0;
            this.#event = '';
            this.#data = [];
            return isEvent ? [found] : [];
        }
        const [, name, content] = /^([^:]*)(?:: ?)?([^]*)$/.exec(line);
        if (name === '') return [{ comment: content }];
        if (name === 'data') this.#data.push(content);
        else if (name === 'event') this.#event = content;
        return [];
    }
}

/** Reads a stream into `pieces` as it arrives; calls `onPiece()` for each. Returns its error, if any. */
async function receive(reader, pieces, onPiece) {
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return {};
            pieces.push(value);
            onPiece();
        }
    } catch (error) {
        return { error };
    }
}

/** Yields what EventParser finds in a ReadableStream of bytes, in lists. */
export async function* serverSentEvents(body) {
    const parser = new EventParser();
    const pieces = [];
    let wake;
    let end = null;
    receive(body.getReader(), pieces, () => wake()).then((result) => {
        end = result;
        wake();
    });
    for (;;) {
        const woken = new Promise((resolve) => { wake = resolve; });
        if (pieces.length > 0) {
            yield pieces.splice(0).flatMap((bytes) => parser.take(bytes));
            if (!end) await new Promise((resolve) => { setTimeout(resolve, BATCH_MS); });
        } else if (end) {
            if (end.error) throw end.error;
            return;
        } else {
            await woken;
        }
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

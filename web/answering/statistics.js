// The figures of an answer: while it is written, and at its end.

const WINDOW_MS = 5000; // the speed is that of the last seconds
const TELL_MS = 500;

/** Counts the tokens of an answer as they arrive. */
export class LiveCount {
    #start = performance.now();
    #first = 0; // time of the first text
    #tokens = 0;
    #samples = []; // [time, tokens]: two a second
    #next = 0;

    /** Counts a piece of text, which is one token; returns whether figures should be shown now. */
    add() {
        const now = performance.now();
        this.#tokens++;
        if (this.#first === 0) this.#first = now;
        if (now < this.#next) return false;
        this.#next = now + TELL_MS;
        this.#samples.push([now, this.#tokens]);
        while (now - this.#samples[0][0] > WINDOW_MS) this.#samples.shift();
        return true;
    }

    /** Seconds from the request to the first text. */
    get firstText() {
        return this.#first > 0 ? (this.#first - this.#start) / 1000 : 0;
    }

    /** Returns the `stats` of an answer that is stopped here (see finalStats()). */
    added(stats = {}) {
        return {
            ...stats, tokens: (stats.tokens ?? 0) + this.#tokens, rate: this.figures.rate,
            used: (stats.used ?? 0) > 0 ? stats.used + this.#tokens : 0,
        };
    }

    /** {tokens, seconds, rate}: rate 0 is not known yet. */
    get figures() {
        const now = performance.now();
        const [time, tokens] = this.#samples[0] ?? [now, 0];
        const rate = now - time > TELL_MS ? (this.#tokens - tokens) * 1000 / (now - time) : 0;
        return { tokens: this.#tokens, seconds: (now - this.#first) / 1000, rate };
    }
}

/**
 * Returns the `stats` of an answer after the last event of a stream, from those of earlier parts of it
 * (it was continued) and what the server tells: {tokens, firstText, rate, used, prompt, cached, drafted,
 * accepted}; `used`: all tokens of the conversation.
 */
export function finalStats(stats, usage, timings = {}) {
    return {
        ...stats,
        tokens: (stats.tokens ?? 0) + (usage.completion_tokens ?? 0),
        rate: usage.completion_tokens > 1 ? timings.predicted_per_second ?? 0 : stats.rate ?? 0,
        used: usage.total_tokens ?? 0,
        prompt: usage.prompt_tokens ?? 0,
        cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
        drafted: (stats.drafted ?? 0) + (timings.draft_n ?? 0),
        accepted: (stats.accepted ?? 0) + (timings.draft_n_accepted ?? 0),
    };
}

// The state of the server as the page knows it: one machine, which all parts of the page read.
//
//   connecting   nothing is known yet
//   loading      {stage, percent, bytes: {done, total} of a download, isFirstStart}
//   ready, busy  {health}: it answers; busy: all its slots are taken
//   keyNeeded, keyWrong
//   stopping     it ends its answers, and takes no more
//   offline      it cannot be reached
//
// Event "change": the state, or what is known of the server, may have changed. While the page is
// visible, or an answer waits for the server, it is asked again and again; GET /health is cheap.

import { accessHeaders } from './api.js';
import { currentKey } from './key.js';

const TIMEOUT_MS = 8000; // of one question; a loaded machine may take some seconds
const MS_TO_NEXT = {
    connecting: 500, loading: 500, ready: 10_000, busy: 3000, keyNeeded: 15_000, keyWrong: 15_000,
    stopping: 1000,
};
const OFFLINE_MS = [500, 1000, 2000, 4000]; // then the last one, for ever
const FIRST_START_STAGES = ['downloading', 'packing', 'measuring'];

/** Returns the state and its details for an answer of GET /health. */
function stateOf(health) {
    const { status, stage, stage_done: done, stage_total: total } = health;
    // without a valid key the answer has nothing but the status
    if (!('uptime_seconds' in health)) {
        return { name: currentKey() === '' ? 'keyNeeded' : 'keyWrong' };
    }
    if (status === 'loading') {
        return {
            name: 'loading', stage, percent: total > 0 ? Math.round(100 * done / total) : undefined,
            bytes: stage === 'downloading' && total > 0 ? { done, total } : undefined,
            isFirstStart: FIRST_START_STAGES.includes(stage),
        };
    }
    if (status === 'stopping') return { name: 'stopping' };
    if (status !== 'ok') throw new Error(`unknown status ${status}`);
    const isBusy = health.queued > 0 || health.running >= health.parallel;
    return { name: isBusy ? 'busy' : 'ready', health };
}

export class ServerState extends EventTarget {
    #state = { name: 'connecting' };
    #timer = 0;
    #failures = 0;
    #probing = null;
    #waiting = new Set(); // functions to call once it answers

    constructor() {
        super();
        window.addEventListener('online', () => this.probe());
        window.addEventListener('offline', () => this.probe());
        document.addEventListener('visibilitychange', () => {
            if (!document.hidden) this.probe();
        });
        this.probe();
    }

    /** {name, ...}: see the head of this file. */
    get state() {
        return this.#state;
    }

    get isAnswering() {
        return this.#state.name === 'ready' || this.#state.name === 'busy';
    }

    /** The longest conversation, in tokens; 0: not known. */
    get contextSize() {
        return this.#state.health?.ctx_size ?? 0;
    }

    /** Asks the server now; returns a promise of the state's name. A question that runs counts. */
    probe() {
        this.#probing ??= this.#ask().finally(() => {
            this.#probing = null;
            this.#schedule();
        });
        return this.#probing;
    }

    /** Asks the server about another key that is in use from now on. */
    async probeAgain() {
        await this.#probing?.catch(() => {});
        return this.probe();
    }

    /** Returns a promise that is kept once the server takes requests; rejected if the signal aborts. */
    whenAnswering(signal) {
        return new Promise((resolve, reject) => {
            const settle = (outcome, value) => {
                this.#waiting.delete(kept);
                signal.removeEventListener('abort', aborted);
                outcome(value);
            };
            const kept = () => settle(resolve);
            const aborted = () => settle(reject, signal.reason);
            if (signal.aborted) {
                reject(signal.reason);
                return;
            }
            signal.addEventListener('abort', aborted);
            this.#waiting.add(kept);
            this.probe();
        });
    }

    async #ask() {
        const key = currentKey();
        try {
            const response = await fetch('health', {
                headers: accessHeaders(), cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS),
            });
            const health = await response.json();
            this.#failures = 0;
            if (key === currentKey()) this.#enter(stateOf(health)); // else it tells of another key
        } catch {
            // no answer, or one of something else: a proxy without its server, the login of a network
            this.#failures++;
            this.#enter({ name: 'offline' });
        }
        return this.#state.name;
    }

    #enter(state) {
        this.#state = state;
        this.dispatchEvent(new Event('change'));
        if (this.isAnswering) [...this.#waiting].forEach((kept) => kept());
    }

    #schedule() {
        clearTimeout(this.#timer);
        if (document.hidden && this.#waiting.size === 0) return; // visibilitychange goes on
        const { name } = this.#state;
        const ms = name === 'offline'
            ? OFFLINE_MS[Math.min(this.#failures, OFFLINE_MS.length) - 1] : MS_TO_NEXT[name];
        this.#timer = setTimeout(() => this.probe(), ms);
    }
}

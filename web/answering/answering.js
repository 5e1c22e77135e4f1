// Asks the model for answers, of several chats at a time. An answer goes on when another chat is shown,
// when the connection is lost, and without the page: the server keeps it under an ID (answerId) for two
// minutes, and the page reads on from the event that it has not seen.
//
// Events, with detail {conversation, message}: "change": whether a chat has a running answer;
// "progress" (and `progress`: see completion.js; {isLost}: the server has to come back first;
// {busySeconds}: it is asked again then), "grow", "figures" (and `figures`: see statistics.js), "end"
// (and `error`: an ApiError, or undefined).

import { newId } from '../base/dom.js';
import { ApiError } from '../connection/api.js';
import { complete, readAnswer, stopAnswer } from '../connection/completion.js';
import { addCalls } from './calls.js';
import { firstRead, requestOf } from './request.js';
import { LiveCount, finalStats } from './statistics.js';
import { ThoughtClock } from './thoughts.js';

const BUSY_SECONDS = 5; // if the server does not say
const LAST_TOKENS = 64; // asked for where the context is nearly full
const MOST_REST_MS = 30_000; // between attempts that all fail
const GATEWAY_ERRORS = [502, 503, 504]; // of a proxy whose server is away, without a code of ours

const STATES = { length: 'length' }; // of the server's reasons; the others: complete

function sleep(ms, signal) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, ms);
        signal.addEventListener('abort', () => {
            clearTimeout(timer);
            reject(signal.reason);
        }, { once: true });
    });
}

/** Returns a copy of the fields of an answer that its stream makes. */
function ownFields({ content, thought, calls, events = 0 }) {
    const fields = { content, events };
    if (thought !== undefined) fields.thought = thought;
    if (calls !== undefined) fields.calls = calls;
    return fields;
}

/** Returns the fields of an answer that a delta adds to. */
function grownFields({ content, thought = '', calls = [] }, delta = {}) {
    const fields = {};
    if (delta.content) fields.content = content + delta.content;
    if (delta.reasoning_content) fields.thought = thought + delta.reasoning_content;
    if (delta.tool_calls) fields.calls = addCalls(calls, delta.tool_calls);
    return fields;
}

export class Answering extends EventTarget {
    #running = new Map(); // chat ID -> job
    #server;
    #obtainKey;

    /**
     * `server`: a ServerState. `obtainKey()`: asks the user for an API key; a promise of whether there
     * is a new one.
     */
    constructor({ server, obtainKey }) {
        super();
        this.#server = server;
        this.#obtainKey = obtainKey;
    }

    get isAnyRunning() {
        return this.#running.size > 0;
    }

    isRunning(conversation) {
        return this.#running.has(conversation.id);
    }

    stop(conversation) {
        const job = this.#running.get(conversation.id);
        if (!job) return;
        job.controller.abort();
        if (job.message.answerId) stopAnswer(job.message.answerId);
    }

    /** Asks for an answer to a message of the user: a new version if it has one. */
    ask(conversation, question) {
        if (this.isRunning(conversation)) return null;
        const message = conversation.add({
            parent: question.id, role: 'assistant', state: 'writing',
        });
        return this.#run({ conversation, message });
    }

    /** Goes on in an answer that has ended early. */
    continue(conversation, message) {
        if (this.isRunning(conversation)) return null;
        conversation.change(message, { state: 'writing' });
        return this.#run({ conversation, message });
    }

    /** Reads on in an answer that an earlier page, another tab or device has begun. */
    resume(conversation, message) {
        if (this.isRunning(conversation)) return null;
        return this.#run({ conversation, message, isKept: true, isResumed: true });
    }

    async #run(fields) {
        const job = {
            controller: new AbortController(),
            isKept: false, // by the server: read on there
            isFinished: false,
            losses: 0,
            ...fields,
        };
        const { conversation, message } = job;
        const detail = { conversation, message };
        this.#running.set(conversation.id, job);
        this.#tell('change', detail);
        let error;
        try {
            await this.#toEnd(job);
        } catch (caught) {
            error = this.#end(job, caught);
        }
        this.#running.delete(conversation.id);
        this.#tell('end', { ...detail, error });
        await conversation.flush();
        this.#tell('change', detail);
    }

    /** Notes why an answer has ended early; returns the error, if it is one. */
    #end({ conversation, message, controller, count, isResumed }, error) {
        if (controller.signal.aborted) {
            const stats = count?.added(message.stats) ?? message.stats;
            conversation.change(message, { state: 'stopped', stats });
        } else if (error.code === 'context_length_exceeded' && message.content !== '') {
            conversation.change(message, { state: 'length', isFull: true });
        } else {
            const state = message.content === '' ? 'failed' : 'interrupted';
            if (isResumed) conversation.interrupt(message); // another device may know its end
            else conversation.change(message, { state });
            return error;
        }
        return undefined;
    }

    /** Receives an answer to its end, whatever happens on the way. */
    async #toEnd(job) {
        for (;;) {
            try {
                await this.#receive(job);
                return;
            } catch (error) {
                if (job.isFinished) return; // the text is complete: only figures may be missing
                await this.#recover(job, error);
            }
        }
    }

    /** Prepares another attempt; throws the error if there is nothing to be done. */
    async #recover(job, error) {
        const { message, controller: { signal } } = job;
        if (signal.aborted || !(error instanceof ApiError)) throw error;
        const { status, code } = error;
        const isLost = status === 0 && (code === 'interrupted' || code === 'unreachable');
        if (status === 401) {
            if (!await this.#obtainKey()) throw error;
        } else if (status === 404 && job.isKept) {
            // Gone: the server was restarted, or was left alone for long. A page that was there all
            // the time goes on by itself, in a new answer.
            job.isKept = false;
            if (job.isResumed) throw new ApiError('the answer is gone', { code: 'interrupted' });
        } else if (isLost || (code === '' && GATEWAY_ERRORS.includes(status))) {
            job.isKept ||= isLost;
            await this.#waitForServer(job);
        } else if (code === 'stopping') {
            job.isKept = false;
            await this.#waitForServer(job);
        } else if (code === 'context_length_exceeded' && message.content !== '' && !job.maxTokens) {
            job.maxTokens = LAST_TOKENS; // less room that is kept free for the answer
        } else if (status === 429 || (status === 503 && code === 'busy')) {
            await this.#waitForRoom(job, error.retryAfter || BUSY_SECONDS);
        } else {
            throw error;
        }
    }

    async #waitForServer(job) {
        const { signal } = job.controller;
        this.#tellProgress(job, { isLost: true });
        if (job.losses > 0) await sleep(Math.min(1000 * 2 ** job.losses, MOST_REST_MS), signal);
        job.losses++; // until something is received
        await this.#server.whenAnswering(signal);
    }

    async #waitForRoom(job, seconds) {
        const end = performance.now() + 1000 * seconds;
        for (;;) {
            const left = Math.ceil((end - performance.now()) / 1000);
            if (left <= 0) return;
            this.#tellProgress(job, { busySeconds: left });
            await sleep(Math.min(1000, end - performance.now()), job.controller.signal);
        }
    }

    #open(job) {
        const { conversation, message, controller: { signal } } = job;
        if (job.isKept) return readAnswer(message.answerId, message.events ?? 0, { signal });
        conversation.change(message, { answerId: newId(), events: 0, readsFrom: null });
        const request = requestOf(conversation, message);
        if (job.maxTokens) request.max_tokens = job.maxTokens;
        return complete(request, { answerId: message.answerId, signal });
    }

    async #receive(job) {
        const { conversation, message } = job;
        job.count = new LiveCount();
        job.clock ??= new ThoughtClock();
        const stream = this.#open(job);
        job.own = ownFields(message);
        for await (const events of stream) {
            job.isResumed = false; // it is there: from now on this page watches it
            job.losses = 0;
            const received = events.filter(({ progress }) => {
                if (progress) this.#tellProgress(job, progress);
                return !progress;
            });
            if (received.length > 0) this.#apply(job, received);
        }
    }

    /**
     * Applies events of the stream: all of them at once, so that none is counted twice, and to what this
     * page has received: another tab may read the same answer and be behind.
     */
    #apply(job, events) {
        const { conversation, message, count, clock, own } = job;
        const fields = {};
        let hasGrown = false;
        let isDue = false;
        for (const { delta, finish, endedBy, leftOut, usage, timings } of events) {
            const grown = grownFields(own, delta);
            if (Object.keys(grown).length > 0) {
                hasGrown = true;
                isDue = count.add() || isDue;
            }
            Object.assign(own, grown, { events: own.events + 1 });
            if (leftOut !== undefined) fields.readsFrom = firstRead(conversation, message, leftOut);
            if (finish !== undefined) {
                job.isFinished = true;
                fields.state = endedBy === 'repetition' ? 'repetition' : STATES[finish] ?? 'complete';
            }
            if (usage) fields.stats = finalStats(fields.stats ?? message.stats ?? {}, usage, timings);
        }
        if (hasGrown) {
            Object.assign(fields, clock.fieldsOf({ ...message, ...own }));
            if (message.stats === undefined && !job.isKept) {
                fields.stats = { firstText: count.firstText, ...fields.stats };
            }
        }
        conversation.change(message, { ...own, ...fields });
        if (isDue) this.#tell('figures', { conversation, message, figures: count.figures });
        if (hasGrown) this.#tell('grow', { conversation, message });
    }

    #tellProgress({ conversation, message }, progress) {
        this.#tell('progress', { conversation, message, progress });
    }

    #tell(type, detail) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }
}

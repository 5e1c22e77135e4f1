// The page: sends the user's messages to the server, and shows the answers while they arrive.

import { Answer, Scroller, say, userMessage } from './chat.js';
import { askForKey, editSettings } from './dialogs.js';
import { examples, t, translatePage } from './i18n.js';
import { icon } from './icons.js';
import * as store from './store.js';
import { ApiError, complete, fetchLoading, fetchModel } from './stream.js';

const MODEL_RETRY_MS = 3000;
const LOADING_RETRY_MS = 500;
const STAGES = ['downloading', 'packing', 'reading', 'measuring']; // the others are short
// The recommendation of the makers of Qwen2.5, except for the temperature. Without the penalty a model
// of this size starts to repeat itself.
const SAMPLING = { top_p: 0.8, top_k: 20, repetition_penalty: 1.1 };

const byId = (id) => document.getElementById(id);
const log = byId('log');
const input = byId('message');
const sendButton = byId('send');
const scroller = new Scroller(byId('scroller'), byId('to-latest'));

let settings = store.loadSettings();
let key = store.loadKey();
let model = '';
let messages = store.loadConversation();
let running = null; // the AbortController of the answer that is being written

function number(value, digits) {
    return new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: digits })
        .format(value);
}

function updateControls() {
    const busy = running !== null;
    const name = busy ? 'stop' : 'send';
    if (sendButton.dataset.action !== name) {
        sendButton.dataset.action = name;
        sendButton.setAttribute('aria-label', t(name));
        sendButton.title = t(name);
        sendButton.replaceChildren(icon(name));
    }
    sendButton.disabled = !busy && input.value.trim() === '';
    byId('welcome').hidden = messages.length > 0;
    byId('new-chat').disabled = messages.length === 0;
}

function fitInput() {
    input.style.height = 'auto';
    input.style.height = `${input.scrollHeight}px`;
    updateControls();
}

function describe(error) {
    if (!(error instanceof ApiError)) return t('errorServer', { message: String(error) });
    if (error.code === 'unreachable') return t('errorUnreachable');
    if (error.code === 'interrupted') return t('errorInterrupted');
    if (error.code === 'context_length_exceeded') return t('errorContext');
    if (error.status === 429) {
        return error.retryAfter > 0
            ? t('errorBusy', { seconds: error.retryAfter }) : t('errorBusySoon');
    }
    if (error.status === 503) return t('errorLoading');
    if (error.message !== '') return t('errorServer', { message: error.message });
    return t('errorStatus', { status: error.status });
}

function describeLoading({ stage, percent }) {
    const text = t(STAGES.includes(stage) ? stage : 'loading');
    return percent === undefined ? text : t('loadingShare', { stage: text, percent });
}

function describeProgress({ stage, place, seconds, percent }) {
    if (stage !== undefined) return describeLoading({ stage, percent });
    if (percent !== undefined) return t('prefill', { percent });
    return seconds > 0 ? t('queueSeconds', { place, seconds }) : t('queue', { place });
}

/** Returns the speed of the answer, as the user saw it. */
function statistics({ sent, first, last, tokens }) {
    const facts = [];
    if (tokens > 1 && last > first) {
        facts.push(t('rate', { rate: number((tokens - 1) * 1000 / (last - first), 1) }));
    }
    if (first > 0) facts.push(t('firstText', { seconds: number((first - sent) / 1000, 2) }));
    if (tokens > 0) facts.push(t('tokens', { count: number(tokens, 0) }));
    return facts.join(' · ');
}

function completionRequest() {
    const system = settings.system === '' ? [] : [{ role: 'system', content: settings.system }];
    const turns = messages.filter(({ content }) => content !== '')
        .map(({ role, content }) => ({ role, content }));
    return {
        ...(model === '' ? {} : { model }),
        messages: [...system, ...turns],
        max_tokens: settings.maxTokens,
        loop_guard: 'on',
        temperature: settings.temperature,
        ...SAMPLING,
    };
}

/** Reads the stream into `reply`; returns the note and the statistics of the answer. */
async function receive(reply, answer, signal) {
    const times = { sent: performance.now(), first: 0, last: 0, tokens: 0 };
    let note = '';
    let place = null;
    for await (const event of complete(completionRequest(), { key, signal })) {
        if (event.text !== undefined) {
            times.last = performance.now();
            if (times.first === 0) {
                times.first = times.last;
                say(t('started'));
            }
            reply.content += event.text;
            answer.grow(reply.content);
        } else if (event.finish !== undefined) {
            if (event.finish === 'length') note = t('length');
            else if (event.endedBy === 'repetition') note = t('repetition');
        } else if (event.usage !== undefined) {
            times.tokens = event.usage.completion_tokens ?? 0;
        } else if (reply.content === '') {
            answer.status(describeProgress(event));
            if (event.place !== undefined && event.place !== place) say(describeProgress(event));
            place = event.place;
        }
    }
    return { note, stats: statistics(times) };
}

/** Asks the user for the key; false if it was not given. */
async function obtainKey() {
    const given = await askForKey(key !== '');
    if (given === '') return false;
    key = given;
    store.saveKey(key);
    return true;
}

/** Asks for an answer to the messages so far. */
async function ask() {
    const controller = new AbortController();
    const { signal } = controller;
    const reply = { role: 'assistant', content: '' };
    const answer = new Answer({ onGrown: () => scroller.follow(), onAgain: askAgain });
    running = controller;
    messages.push(reply);
    log.append(answer.element);
    answer.status(t('connecting'));
    updateControls();
    scroller.toEnd();
    try {
        let result = null;
        while (result === null) {
            try {
                result = await receive(reply, answer, signal);
            } catch (error) {
                if (error.status !== 401 || !await obtainKey()) throw error;
                showModel();
            }
        }
        Object.assign(reply, result);
        answer.finish(reply.content, result);
        say(t('answered', { text: reply.content }));
    } catch (error) {
        if (signal.aborted) {
            reply.note = t('stopped');
            answer.finish(reply.content, reply);
            say(t('stopped'));
        } else {
            reply.failed = true;
            answer.fail(reply.content, describe(error));
        }
    }
    if (running === controller) running = null;
    remember();
    updateControls();
}

/** Generates the last answer again. */
function askAgain() {
    if (running) return;
    if (messages.at(-1)?.role === 'assistant') messages.pop();
    log.lastElementChild.remove();
    input.focus();
    ask();
}

function send(text) {
    messages.push({ role: 'user', content: text });
    log.append(userMessage(text));
    remember();
    ask();
}

function remember() {
    store.saveConversation(messages);
}

function restore() {
    const onGrown = () => {};
    for (const message of messages) {
        if (message.role === 'user') {
            log.append(userMessage(message.content));
            continue;
        }
        const answer = new Answer({ onGrown, onAgain: askAgain });
        if (message.failed) answer.fail(message.content, t('errorInterrupted'));
        else answer.finish(message.content, message);
        log.append(answer.element);
    }
    scroller.toEnd();
}

function newChat() {
    running?.abort();
    running = null;
    messages = [];
    remember();
    log.replaceChildren();
    say('');
    updateControls();
    input.focus();
}

async function showModel() {
    const label = byId('model');
    try {
        model = await fetchModel(key);
        label.textContent = model;
        label.title = model;
    } catch (error) {
        if (error.status === 401) {
            if (await obtainKey()) showModel();
            return;
        }
        const loading = error.status === 503 ? await fetchLoading().catch(() => null) : null;
        label.textContent = loading ? describeLoading(loading) : t('offline');
        label.title = label.textContent;
        setTimeout(showModel, loading ? LOADING_RETRY_MS : MODEL_RETRY_MS);
    }
}

function listen() {
    byId('composer').addEventListener('submit', (event) => {
        event.preventDefault();
        if (running) {
            running.abort();
            return;
        }
        const text = input.value.trim();
        if (text === '') return;
        input.value = '';
        fitInput();
        send(text);
    });
    sendButton.addEventListener('click', (event) => {
        // a double click should send, not send and stop
        if (event.detail > 1) event.preventDefault();
    });
    input.addEventListener('input', fitInput);
    input.addEventListener('keydown', (event) => {
        // Enter that confirms a word in an input method does not send; Safari reports that only by 229
        const composing = event.isComposing || event.keyCode === 229;
        if (event.key !== 'Enter' || event.shiftKey || composing) return;
        event.preventDefault();
        if (!running) byId('composer').requestSubmit();
    });
    document.addEventListener('keydown', (event) => {
        const elsewhere = event.isComposing || document.querySelector('dialog[open]');
        if (event.key === 'Escape' && !elsewhere) running?.abort();
    });
    byId('new-chat').addEventListener('click', newChat);
    byId('toggle-theme').addEventListener('click', () => {
        document.dispatchEvent(new Event('kinglet:toggle-theme'));
    });
    byId('open-settings').addEventListener('click', () => editSettings(settings, (chosen) => {
        settings = chosen;
        store.saveSettings(settings);
    }));
    window.addEventListener('pagehide', () => {
        if (running) messages.at(-1).failed = true;
        remember();
    });
}

translatePage();
byId('examples').append(...examples.map((text) => {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = text;
    button.addEventListener('click', () => {
        input.focus();
        send(text);
    });
    item.append(button);
    return item;
}));
listen();
restore();
updateControls();
showModel();

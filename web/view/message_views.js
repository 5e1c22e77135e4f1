// The messages on the page: how a question looks, and an answer in each of its states.

import { filesOf } from '../answering/files.js';
import { copyButton } from '../base/copy.js';
import { button, element } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { AnswerText } from './answer_text.js';
import { fileList } from './attachments.js';
import { Pace } from './pace.js';
import { readAloudButton } from './read_aloud.js';
import { describeStats } from './words.js';

const NOTES = { stopped: 'stopped', length: 'length', repetition: 'repetition' };
const CONTINUED = ['stopped', 'length', 'interrupted']; // states in which an answer can go on

/** A message of the user. */
export class QuestionView {
    element;
    body;

    /** `tools`: more buttons for the foot (editor.js). */
    constructor(message, tools) {
        const copy = copyButton(() => message.content, { label: t('copyMessage') });
        const sent = filesOf(message);
        const files = sent.length > 0 ? [fileList(sent)] : [];
        const bubble = element('div', 'bubble', message.content);
        bubble.dir = 'auto';
        this.body = element('div', 'question', ...files, ...message.content === '' ? [] : [bubble]);
        this.element = element('article', 'message user', this.body,
            element('div', 'foot', copy, tools));
        this.element.setAttribute('aria-label', t('you'));
    }
}

/** An answer: progress(), grow() while it is written, settle() at its end. */
export class AnswerView {
    element;
    #message;
    #actions;
    #text;
    #state = element('p', 'state', element('span', 'pulse'), element('span', 'state-text'));
    #foot = element('div', 'foot');
    #tools;
    #pace = new Pace(() => this.#draw());
    #figures = null; // that are not shown yet

    /**
     * `actions`: {onAgain, onContinue, onGrown}: the last one when the text that is shown has grown;
     * `tools`: more buttons for the foot (editor.js).
     */
    constructor(message, actions, tools) {
        this.#message = message;
        this.#actions = actions;
        this.#tools = tools;
        this.#text = new AnswerText(message);
        this.element = element('article', 'message answer', this.#text.element, this.#state, this.#foot);
        this.element.setAttribute('aria-label', t('assistant'));
        this.#foot.hidden = true;
        if (message.state !== 'writing') {
            this.#text.settleLater();
            this.#showEnd();
            return;
        }
        this.progress('');
        if (message.content !== '') this.grow();
    }

    /** Shows the message as another tab changed it. */
    refresh() {
        if (this.#message.state !== 'writing') this.settle();
        else if (this.#message.content !== '') this.grow();
        else this.progress('');
    }

    get body() {
        return this.#text.element;
    }

    /** The answer as it is read aloud. */
    get spoken() {
        return this.#text.spoken;
    }

    /** Shows the state before the first text. */
    progress(text) {
        this.#state.hidden = false;
        this.element.setAttribute('aria-busy', 'true');
        this.#state.querySelector('.state-text').textContent = text;
    }

    /** Shows what is known of the answer while it is written. */
    figures(text) {
        this.#figures = text;
        this.#pace.request();
    }

    /** Shows that the answer goes on after its end. */
    reopen() {
        this.element.querySelector('.failure')?.remove();
        this.#foot.hidden = true;
    }

    /** Shows the text so far. */
    grow() {
        if (this.#state.hidden) this.progress('');
        this.#pace.request();
    }

    /** Shows the answer at its end; `failure` is a text. */
    settle(failure = '') {
        this.#pace.cancel();
        this.#text.settle();
        this.#showEnd(failure);
    }

    #showEnd(failure = '') {
        const { content, thought, calls, state, stats, isEdited, isFull } = this.#message;
        const copy = copyButton(() => content, { label: t('copyMessage') });
        this.#state.hidden = true;
        this.element.removeAttribute('aria-busy');
        this.element.querySelector('.failure')?.remove();
        this.#foot.hidden = false;
        if (state === 'failed' || state === 'interrupted') {
            const box = element('div', 'failure', element('p', '', failure || t('errorInterrupted')),
                ...this.#continue('retry'), this.#again('retry'));
            box.setAttribute('role', 'alert');
            this.#foot.before(box);
            this.#foot.replaceChildren(...content === '' ? [] : [copy], this.#tools);
        } else {
            const isEmpty = content === '' && !thought && !calls && state === 'complete';
            const note = isEmpty ? [t('emptyAnswer')] : isFull ? [t('answerFull')] : isEdited ? [t('edited')]
                : state in NOTES ? [t(NOTES[state])] : [];
            const facts = [...note, ...describeStats(stats)].join(' · ');
            const aloud = readAloudButton(() => this.spoken);
            this.#foot.replaceChildren(...this.#continue('quiet'), copy, ...isEmpty ? [] : [aloud],
                this.#again('again'), this.#tools,
                element('span', 'stats', facts));
        }
    }

    #draw() {
        this.#text.grow();
        if (this.#figures !== null) {
            this.#state.querySelector('.state-text').textContent = this.#figures;
            this.#figures = null;
        }
        this.#actions.onGrown();
    }

    /** Returns the button that goes on in this answer, in a list; an empty one if it cannot go on. */
    #continue(kind) {
        const { content, state, isFull } = this.#message;
        if (isFull || !CONTINUED.includes(state) || content === '') return [];
        const name = { iconName: 'continue', text: t('continue') };
        return [button(`continue ${kind}`, name, this.#actions.onContinue)];
    }

    #again(name) {
        const kind = name === 'again' ? 'again quiet' : 'retry';
        return button(kind, { iconName: 'again', text: t(name) }, this.#actions.onAgain);
    }
}

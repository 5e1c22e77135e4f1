// The text of an answer as it is read: its thought folded, its text, calls of tools and JSON folded.

import { partsOf } from '../answering/thoughts.js';
import { splitCalls } from '../answering/calls.js';
import { element } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { GrowingMarkdown } from '../markdown/growing.js';
import { codeFrame, settleCode } from '../markdown/highlighting.js';
import { renderMarkdown } from '../markdown/markdown.js';
import { renderLater, renderedNow } from './render_queue.js';

const OPEN_LINES = 20; // longer JSON is folded

const beginsAsJson = (text) => /^\s*(?:\{\s*(?:"|\}?$)|\[\s*(?:[{["]|$))/.test(text);

/** Returns JSON with a line for each member; null if the text is none. */
function prettyJson(text) {
    try {
        const value = JSON.parse(text);
        return typeof value === 'object' ? JSON.stringify(value, null, 2) : null;
    } catch {
        return null;
    }
}

function folded(kind, title, ...content) {
    const summary = element('summary', '', title);
    return element('details', `folded ${kind}`, summary, ...content);
}

function foldedJson(kind, title, json) {
    const frame = codeFrame('json', json);
    settleCode(frame);
    return folded(kind, title, frame);
}

export class AnswerText {
    element = element('div', 'answer-text');
    #message;
    #prose = element('div', 'prose');
    #growing = null;
    #thought = null; // {details, prose, growing}
    #isFoldedByReader = false;

    constructor(message) {
        this.#message = message;
        this.element.append(this.#prose);
    }

    /** The answer as it is read aloud: without its thought, and without code. */
    get spoken() {
        const copy = this.#prose.cloneNode(true);
        for (const silent of copy.querySelectorAll('.code, .folded')) silent.remove();
        for (const formula of copy.querySelectorAll('.formula .tex')) {
            formula.parentNode.replaceWith(formula.textContent.slice(2, -2));
        }
        for (const block of copy.querySelectorAll('p, li, h1, h2, h3, h4, h5, h6, td, th')) {
            block.append('\n');
        }
        return copy.textContent;
    }

    /** Shows the text so far. */
    grow() {
        const { thought, text, isThinking } = partsOf(this.#message);
        if (thought !== '') this.#growThought(thought, isThinking);
        this.#growing ??= new GrowingMarkdown(this.#prose);
        const shown = splitCalls(text).text;
        this.#growing.update(beginsAsJson(shown) ? `\`\`\`json\n${shown}` : shown);
    }

    /** Shows the complete text. */
    settle() {
        renderedNow(this.element);
        const { thought, text } = partsOf(this.#message);
        const { text: said, calls } = splitCalls(text);
        const json = beginsAsJson(said) ? prettyJson(said) : null;
        if (json !== null) this.#showJson(json);
        else if (this.#growing && !beginsAsJson(said)) this.#growing.finish(said);
        else this.#prose.replaceChildren(renderMarkdown(said));
        this.#growing = null;
        this.#settleThought(thought);
        for (const old of this.element.querySelectorAll('.call')) old.remove();
        for (const { name, text: given } of [...calls, ...this.#message.calls ?? []]) {
            const title = t('toolCall', { name });
            this.element.append(foldedJson('call', title, prettyJson(given) ?? given));
        }
    }

    /** Shows the complete text when there is time, or when it is scrolled to. */
    settleLater() {
        this.#prose.textContent = this.#message.content; // is found by a search of the browser
        renderLater(this.element, () => this.settle());
    }

    #showJson(json) {
        const lines = json.split('\n').length;
        const details = foldedJson('json', t('jsonLines', { count: lines }), json);
        details.open = lines <= OPEN_LINES;
        this.#prose.replaceChildren(details);
    }

    #growThought(thought, isThinking) {
        if (!this.#thought) {
            const prose = element('div', 'prose');
            const details = folded('thought', t('thinking'), prose);
            details.open = true;
            // the reader's choice counts more than ours
            details.firstChild.addEventListener('click', () => { this.#isFoldedByReader = true; });
            this.#thought = { details, prose, growing: new GrowingMarkdown(prose) };
            this.element.prepend(details);
        }
        const { details, growing } = this.#thought;
        growing.update(thought);
        if (isThinking || details.classList.contains('done')) return;
        details.classList.add('done');
        details.firstChild.textContent = this.#thoughtTitle();
        if (!this.#isFoldedByReader) details.open = false;
    }

    #settleThought(thought) {
        if (thought === '') {
            this.#thought?.details.remove();
            this.#thought = null;
            return;
        }
        if (!this.#thought) this.#growThought(thought, false);
        const { details, growing } = this.#thought;
        growing.finish(thought);
        details.classList.add('done');
        details.firstChild.textContent = this.#thoughtTitle();
    }

    #thoughtTitle() {
        const seconds = this.#message.thoughtSeconds;
        if (seconds === undefined) return t('thought');
        return t('thoughtSeconds', { seconds: Math.max(1, seconds) });
    }
}

// The conversation on the page: messages, their state while they arrive, and automatic scrolling.

import { copyButton } from './copy.js';
import { t } from './i18n.js';
import { icon } from './icons.js';
import { GrowingMarkdown, renderMarkdown } from './markdown.js';

// Rendering gets at most a quarter of the time, so that a slow phone stays responsive.
const REST_PER_WORK = 3;
const NEAR_END_PX = 40;

function element(tag, className, ...children) {
    const node = document.createElement(tag);
    node.className = className;
    node.append(...children);
    return node;
}

/** Announces text to a screen reader. */
export function say(text) {
    document.getElementById('say').textContent = text;
}

document.addEventListener('kinglet:say', (event) => say(event.detail));

/** Follows the growing text until the reader scrolls away, and again once back at the end. */
export class Scroller {
    #view;
    #button;
    #following = true;
    #top = 0;

    constructor(view, button) {
        this.#view = view;
        this.#button = button;
        view.addEventListener('scroll', () => this.#scrolled(), { passive: true });
        button.addEventListener('click', () => this.toEnd());
        new ResizeObserver(() => this.follow()).observe(view);
    }

    toEnd() {
        this.#following = true;
        this.follow();
    }

    follow() {
        if (this.#following) this.#view.scrollTop = this.#view.scrollHeight;
        this.#top = this.#view.scrollTop;
        this.#button.hidden = this.#following || this.#distance() < NEAR_END_PX;
    }

    #distance() {
        return this.#view.scrollHeight - this.#view.clientHeight - this.#view.scrollTop;
    }

    #scrolled() {
        // growing text never lowers scrollTop: if it is lower, the reader has scrolled
        const up = this.#top - this.#view.scrollTop;
        if (up > 1) this.#following = false;
        else if (up <= 0 && this.#distance() < NEAR_END_PX) this.#following = true;
        this.#top = this.#view.scrollTop;
        this.#button.hidden = this.#following || this.#distance() < NEAR_END_PX;
    }
}

export function userMessage(text) {
    const copy = copyButton(() => text, { label: t('copyMessage') });
    const article = element('article', 'message user', element('div', 'bubble', text),
        element('div', 'foot', copy));
    article.setAttribute('aria-label', t('you'));
    return article;
}

/** An answer: a growing one (status, grow, then finish or fail) or a stored one. */
export class Answer {
    element;
    #prose = element('div', 'prose');
    #state = element('p', 'state', element('span', 'pulse'), element('span', 'state-text'));
    #foot = element('div', 'foot');
    #growing = null;
    #text = '';
    #frame = 0;
    #notBefore = 0;
    #onGrown;
    #onAgain;

    constructor({ onGrown, onAgain }) {
        this.#onGrown = onGrown;
        this.#onAgain = onAgain;
        this.#foot.hidden = true;
        this.#state.hidden = true;
        this.element = element('article', 'message answer', this.#prose, this.#state, this.#foot);
        this.element.setAttribute('aria-label', t('assistant'));
    }

    /** Shows the state before the first text. */
    status(text) {
        this.#state.hidden = false;
        this.element.setAttribute('aria-busy', 'true');
        this.#state.querySelector('.state-text').textContent = text;
        this.#onGrown();
    }

    /** Shows the text so far. */
    grow(text) {
        this.#growing ??= new GrowingMarkdown(this.#prose);
        this.#text = text;
        if (this.#state.hidden || this.#state.textContent !== '') this.status('');
        if (this.#frame === 0) this.#schedule();
    }

    finish(text, { note = '', stats = '' } = {}) {
        this.#settle(text);
        const copy = copyButton(() => text, { label: t('copyMessage') });
        const facts = [note, stats].filter((fact) => fact !== '').join(' · ');
        this.#foot.append(copy, this.#again('again'), element('span', 'stats', facts));
        this.#foot.hidden = false;
        this.#onGrown();
    }

    fail(text, message) {
        this.#settle(text);
        const box = element('div', 'failure', element('p', '', message), this.#again('retry'));
        box.setAttribute('role', 'alert');
        this.#foot.before(box);
        this.#onGrown();
    }

    #settle(text) {
        cancelAnimationFrame(this.#frame);
        this.#state.hidden = true;
        this.element.removeAttribute('aria-busy');
        if (this.#growing) this.#growing.finish(text);
        else this.#prose.replaceChildren(renderMarkdown(text));
    }

    #schedule() {
        this.#frame = requestAnimationFrame((now) => {
            this.#frame = 0;
            if (now < this.#notBefore) {
                this.#schedule();
                return;
            }
            const start = performance.now();
            this.#growing.update(this.#text);
            this.#onGrown();
            const end = performance.now();
            this.#notBefore = end + REST_PER_WORK * (end - start);
        });
    }

    #again(name) {
        const kind = name === 'again' ? 'again quiet' : 'retry';
        const button = element('button', kind, icon('again'), t(name));
        button.type = 'button';
        button.addEventListener('click', this.#onAgain);
        return button;
    }
}

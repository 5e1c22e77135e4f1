// The list of prompts above the composer: it opens with a "/" at the beginning of an empty box, and the
// keyboard stays in the box (the pattern of a text box with a list box: aria-activedescendant).

import { byId, element, say } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { findPrompts } from '../base/prompts.js';

const EXCERPT = 80; // characters

export class PromptList {
    #list = byId('prompts');
    #input = byId('message');
    #onChoose;
    #found = [];
    #selected = -1;
    #dismissed = ''; // the text for which the user has closed the list

    /** `onChoose(text)`: a prompt was chosen. */
    constructor({ onChoose }) {
        this.#onChoose = onChoose;
        this.#input.addEventListener('input', () => this.#update());
        this.#input.addEventListener('blur', () => this.#close());
        this.#input.addEventListener('keydown', (event) => this.#onKey(event));
        // a click must not take the focus from the box, which would close the list before it counts
        this.#list.addEventListener('pointerdown', (event) => event.preventDefault());
        this.#list.addEventListener('click', ({ target }) => {
            const option = target.closest('[role="option"]');
            if (option) this.#choose([...this.#list.children].indexOf(option));
        });
    }

    get isOpen() {
        return !this.#list.hidden;
    }

    #update() {
        const [, query] = /^\/(\S*)$/.exec(this.#input.value) ?? [];
        if (this.#input.value !== this.#dismissed) this.#dismissed = '';
        this.#found = query === undefined || this.#dismissed !== '' ? [] : findPrompts(query);
        if (this.#found.length === 0) {
            this.#close();
            return;
        }
        const wasOpen = this.isOpen;
        this.#list.replaceChildren(...this.#found.map(({ name, text }, i) => {
            const option = element('li', 'prompt', element('span', 'prompt-name', name),
                element('span', 'prompt-text', text.trim().slice(0, EXCERPT)));
            option.id = `prompt-${i}`;
            option.dir = 'auto';
            option.setAttribute('role', 'option');
            return option;
        }));
        this.#list.hidden = false;
        this.#select(0);
        if (!wasOpen) say(t('promptsFound', { count: this.#found.length }));
    }

    #select(i) {
        const count = this.#found.length;
        this.#selected = (i + count) % count;
        for (const [at, option] of [...this.#list.children].entries()) {
            option.setAttribute('aria-selected', String(at === this.#selected));
        }
        const option = this.#list.children[this.#selected];
        this.#input.setAttribute('aria-activedescendant', option.id);
        option.scrollIntoView({ block: 'nearest' });
    }

    #choose(i) {
        const { text } = this.#found[i];
        this.#close();
        this.#onChoose(text);
    }

    #close() {
        this.#list.hidden = true;
        this.#list.replaceChildren();
        this.#input.removeAttribute('aria-activedescendant');
    }

    #onKey(event) {
        if (!this.isOpen || event.isComposing || event.keyCode === 229) return;
        const actions = {
            ArrowDown: () => this.#select(this.#selected + 1),
            ArrowUp: () => this.#select(this.#selected - 1),
            Enter: () => this.#choose(this.#selected),
            Tab: () => this.#choose(this.#selected),
            Escape: () => {
                this.#dismissed = this.#input.value;
                this.#close();
            },
        };
        const isModified = event.shiftKey || event.ctrlKey || event.altKey || event.metaKey;
        if (!Object.hasOwn(actions, event.key) || isModified) return;
        event.preventDefault();
        event.stopImmediatePropagation(); // neither sends nor stops an answer
        actions[event.key]();
    }
}

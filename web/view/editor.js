// The tools of a message: its other versions, and a box to edit it.

import { button, element } from '../base/dom.js';
import { number, t } from '../base/i18n.js';

/** Returns a box for a text with buttons; `onSave(text)`, `onCancel()`. */
function editor(text, { label, save, onSave, onCancel }) {
    const input = element('textarea', '');
    const form = element('form', 'editor', input, element('div', 'choices',
        button('plain', { text: t('cancel') }, onCancel),
        button('primary', { text: save }, () => form.requestSubmit())));
    const fit = () => {
        input.style.height = 'auto';
        input.style.height = `${input.scrollHeight + 2}px`;
    };
    input.value = text;
    input.dir = 'auto';
    input.setAttribute('aria-label', label);
    input.addEventListener('input', fit);
    input.addEventListener('keydown', (event) => {
        if (event.isComposing || event.keyCode === 229) return;
        if (event.key === 'Escape') onCancel();
        else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
        else return;
        event.preventDefault();
        event.stopPropagation();
    });
    form.addEventListener('submit', (event) => {
        event.preventDefault();
        if (input.value.trim() !== '') onSave(input.value.trim());
    });
    return { form, input, fit };
}

/** The buttons of one message: `element` belongs into its foot. */
export class MessageTools {
    element = element('span', 'tools');
    #message;
    #actions;
    #edit;
    #answer = null;
    #back;
    #next;
    #place = element('span', 'place');
    #versions = element('span', 'versions');
    #others = [];
    #shown = ''; // what update() has shown

    /** `actions`: {onEdit(message, text), onVersion(message), onAnswer(message)}. */
    constructor(message, actions) {
        this.#message = message;
        this.#actions = actions;
        this.#edit = button('edit quiet', { iconName: 'edit', label: t('edit') });
        this.#back = button('quiet', { iconName: 'back', label: t('previousVersion') },
            () => this.#step(-1));
        this.#next = button('quiet', { iconName: 'next', label: t('nextVersion') },
            () => this.#step(1));
        this.#versions.append(this.#back, this.#place, this.#next);
        if (message.role === 'user') {
            this.#answer = button('retry', { iconName: 'again', text: t('answerThis') },
                () => actions.onAnswer(message));
        }
        this.element.append(this.#edit, this.#versions, ...this.#answer ? [this.#answer] : []);
    }

    /** Makes the edit button work on a view with {element, body}. */
    attach(view) {
        this.#edit.addEventListener('click', () => this.#open(view));
    }

    /** `versions`: of the message; `isLast`: nothing follows it; `isBusy`: an answer is written. */
    update({ versions, isLast, isBusy }) {
        const index = versions.indexOf(this.#message);
        this.#others = versions;
        const state = `${index} ${versions.length} ${isLast} ${isBusy}`;
        if (state === this.#shown) return;
        this.#shown = state;
        this.#edit.hidden = isBusy;
        if (this.#answer) this.#answer.hidden = !isLast || isBusy;
        this.#versions.hidden = versions.length < 2;
        if (versions.length < 2) return;
        this.#back.disabled = index === 0;
        this.#next.disabled = index === versions.length - 1;
        this.#place.textContent = `${number(index + 1)}/${number(versions.length)}`;
        this.#place.setAttribute('aria-label',
            t('versionPlace', { place: index + 1, total: versions.length }));
    }

    /** Moves the focus to the button that shows the version before (-1) or after (1). */
    focus(direction) {
        const [first, second] = direction < 0 ? [this.#back, this.#next] : [this.#next, this.#back];
        (first.disabled ? second : first).focus({ preventScroll: true });
    }

    #step(direction) {
        const other = this.#others[this.#others.indexOf(this.#message) + direction];
        if (other) this.#actions.onVersion(other, direction);
    }

    #open({ element: root, body }) {
        const isQuestion = this.#message.role === 'user';
        const close = () => {
            form.remove();
            root.classList.remove('editing');
            this.#edit.focus({ preventScroll: true });
        };
        const { form, input, fit } = editor(this.#message.content, {
            label: t('edit'),
            save: t(isQuestion ? 'send' : 'save'),
            onCancel: close,
            onSave: (text) => {
                close();
                if (text !== this.#message.content) this.#actions.onEdit(this.#message, text);
            },
        });
        root.classList.add('editing');
        body.before(form);
        fit();
        input.focus();
    }
}

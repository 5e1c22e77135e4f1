// The box that a message is written in, and its button: it sends, or stops the answer.

import { byId, say } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { icon } from '../base/icons.js';

const NOTICE_MS = 5000;

// On a screen keyboard Enter is the only way to a new line, and the button is near.
const isTouch = matchMedia('(pointer: coarse)');

// Where the browser does not, the box is laid out twice to know its height.
const isFitByBrowser = CSS.supports('field-sizing', 'content');

export class Composer {
    #input = byId('message');
    #button = byId('send');
    #form = byId('composer');
    #hint = byId('hint');
    #hintName = 'hint';
    #isReady = false; // there is a chat to write in
    #isAwaited = false; // Enter was pressed before
    #isBusy = false;
    #hasFiles = false;
    #timer = 0;

    /** `onSend(text)`, `onStop()`, `onChange(text)`: the text that is not sent yet. */
    constructor({ onSend, onStop, onChange }) {
        this.#form.addEventListener('submit', (event) => {
            event.preventDefault();
            if (!this.#isReady) {
                this.#isAwaited = true;
                return;
            }
            if (this.#isBusy) {
                onStop();
                return;
            }
            const text = this.#input.value.trim();
            if (text === '' && !this.#hasFiles) return;
            this.setText('');
            onChange('');
            onSend(text);
        });
        this.#button.addEventListener('click', (event) => {
            // a double click should send, not send and stop
            if (event.detail > 1) event.preventDefault();
        });
        this.#input.addEventListener('input', () => {
            this.#fit();
            if (this.#isReady) onChange(this.#input.value);
        });
        this.#input.addEventListener('keydown', (event) => this.#onKey(event));
        const setKeyHint = () => {
            this.#input.enterKeyHint = isTouch.matches ? 'enter' : 'send';
        };
        isTouch.addEventListener('change', setKeyHint);
        setKeyHint();
    }

    /** Begins, once there is a chat; what was typed and sent before counts. */
    start() {
        this.#isReady = true;
        if (this.#input.value !== '') this.#input.dispatchEvent(new Event('input'));
        this.#update();
        if (this.#isAwaited) this.#form.requestSubmit();
    }

    setBusy(isBusy) {
        this.#isBusy = isBusy;
        if (!isBusy) this.#endNotice();
        this.#update();
    }

    /** Says whether there are files to send, which need no text. */
    setHasFiles(hasFiles) {
        this.#hasFiles = hasFiles;
        this.#update();
    }

    setText(text) {
        if (!this.#isReady && this.#input.value !== '') return; // the user was faster
        this.#input.value = text;
        this.#fit();
    }

    /** Puts a text into the box as if the user had written it, to be continued at its end. */
    write(text) {
        this.setText(text);
        this.#input.dispatchEvent(new Event('input'));
        this.focus();
        this.#input.setSelectionRange(text.length, text.length);
        this.#input.scrollTop = this.#input.scrollHeight;
    }

    focus() {
        this.#input.focus();
    }

    #onKey(event) {
        // Enter that confirms a word in an input method does not send; Safari says so only by 229
        const isComposing = event.isComposing || event.keyCode === 229;
        if (event.key !== 'Enter' || event.shiftKey || event.altKey || isComposing) return;
        if (isTouch.matches && !event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        if (!this.#isBusy) this.#form.requestSubmit();
        else if (this.#input.value.trim() !== '') this.#notice(t('stillWriting'));
    }

    /** Sets the text below the box by its name. */
    setHint(name) {
        if (name === this.#hintName) return;
        this.#hintName = name;
        this.#hint.textContent = t(name);
    }

    /** Says for a moment, in the place of the hint, why nothing happened. */
    #notice(text) {
        this.#hint.textContent = text;
        this.#hint.classList.add('notice');
        say(text);
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#endNotice(), NOTICE_MS);
    }

    #endNotice() {
        clearTimeout(this.#timer);
        this.#hint.textContent = t(this.#hintName);
        this.#hint.classList.remove('notice');
    }

    #fit() {
        if (!isFitByBrowser) {
            this.#input.style.height = 'auto';
            this.#input.style.height = `${this.#input.scrollHeight}px`;
        }
        this.#update();
    }

    #update() {
        if (!this.#isReady) return;
        const name = this.#isBusy ? 'stop' : 'send';
        if (this.#button.dataset.action !== name) {
            this.#button.dataset.action = name;
            this.#button.setAttribute('aria-label', t(name));
            this.#button.title = t(name);
            this.#button.replaceChildren(icon(name));
        }
        const isEmpty = this.#input.value.trim() === '' && !this.#hasFiles;
        this.#button.disabled = !this.#isBusy && isEmpty;
    }
}

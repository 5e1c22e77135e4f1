// The state of the connection: the model in the header, and a line below it when that is not all.

import { byId } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { describeLoading, describeStart } from './words.js';

const KEY_STATES = ['keyNeeded', 'keyWrong'];
const PATIENCE_MS = 1500; // a short loss is not worth a line
// names of texts
const LINES = {
    keyNeeded: 'lineKeyNeeded', keyWrong: 'lineKeyWrong', stopping: 'lineStopping',
    offline: 'lineOffline',
};
const LABELS = {
    connecting: 'labelConnecting', keyNeeded: 'labelKeyNeeded', keyWrong: 'labelKeyWrong',
    stopping: 'labelStopping', offline: 'offline',
};

export class ConnectionView {
    #server;
    #label = byId('model');
    #line = byId('connection');
    #text = byId('connection-text');
    #bar = byId('loading-bar');
    #key = byId('enter-key');
    #retry = byId('connect-now');
    #offlineSince = 0;

    /** `onKey()`: the user wants to enter the key; `onBox()`: to see more of the server. */
    constructor({ server, onKey, onBox }) {
        this.#server = server;
        this.#label.addEventListener('click', () => {
            if (KEY_STATES.includes(server.state.name)) onKey();
            else onBox();
        });
        this.#key.addEventListener('click', onKey);
        this.#retry.addEventListener('click', () => server.probe());
        server.addEventListener('change', () => this.update());
        this.update();
    }

    update() {
        const { state } = this.#server;
        const { name } = state;
        const text = state.health?.model
            ?? (name === 'loading' ? describeLoading(state) : t(LABELS[name]));
        if (this.#label.textContent !== text) this.#label.textContent = text;
        this.#label.dataset.state = name;
        this.#label.title = t(name === 'busy' ? 'boxBusy' : 'box', { text });
        this.#showLine(state);
    }

    #showLine(state) {
        const { name, percent } = state;
        if (name !== 'offline') this.#offlineSince = 0;
        else if (this.#offlineSince === 0) this.#offlineSince = performance.now();
        const isShort = name === 'offline' && performance.now() - this.#offlineSince < PATIENCE_MS;
        const isShown = (name in LINES && !isShort) || name === 'loading';
        this.#key.hidden = !KEY_STATES.includes(name);
        this.#retry.hidden = name !== 'offline';
        this.#bar.hidden = name !== 'loading';
        if (name === 'loading') {
            if (percent === undefined) this.#bar.removeAttribute('value');
            else this.#bar.value = percent;
        }
        const text = !isShown ? '' : name in LINES ? t(LINES[name]) : describeStart(state);
        if (this.#text.textContent !== text) this.#text.textContent = text;
        // each percent would be announced; the bar is for readers
        this.#text.setAttribute('aria-live', name === 'loading' ? 'off' : 'polite');
        this.#line.dataset.state = name;
        this.#line.hidden = !isShown;
    }
}

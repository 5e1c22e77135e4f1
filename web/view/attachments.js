// The files of a question that is not sent yet: chips in the composer, each with its size in tokens.

import { button, byId, element, say } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { estimateTokens } from '../answering/files.js';
import { countTokens } from '../connection/tokens.js';
import { readFile } from './read_file.js';

const MAX_FILES = 10;
const LONG_PASTE = 2000; // characters that become a file instead of filling the box

export class Attachments {
    #list = byId('files');
    #note = byId('files-note');
    #input = byId('file-input');
    #server;
    #onChange;
    #files = [];
    #problem = '';

    /** `server`: a ServerState. `onChange(files)`: a file was added, removed or counted. */
    constructor({ server, onChange }) {
        this.#server = server;
        this.#onChange = onChange;
        byId('add-file').addEventListener('click', () => this.#input.click());
        this.#input.addEventListener('change', () => {
            this.#read([...this.#input.files]);
            this.#input.value = '';
        });
        byId('message').addEventListener('paste', (event) => this.#paste(event));
        this.#listenToDrops();
    }

    get files() {
        return this.#files;
    }

    /** Shows the files of a draft. */
    set(files) {
        this.#files = [...files];
        this.#problem = '';
        for (const file of this.#files) {
            if (!file.isCounted) this.#count(file);
        }
        this.#show();
    }

    #listenToDrops() {
        const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes('Files');
        const mark = (is) => document.body.classList.toggle('dropping', is);
        addEventListener('dragover', (event) => {
            if (!hasFiles(event)) return;
            event.preventDefault(); // else the browser leaves the page for the file
            mark(document.querySelector('dialog[open]') === null);
        });
        addEventListener('dragleave', ({ relatedTarget }) => {
            if (relatedTarget === null) mark(false);
        });
        addEventListener('drop', (event) => {
            mark(false);
            if (!hasFiles(event)) return;
            event.preventDefault();
            const isFree = document.querySelector('dialog[open]') === null;
            if (isFree) this.#read([...event.dataTransfer.files]);
        });
    }

    #paste(event) {
        const { clipboardData } = event;
        const text = clipboardData.getData('text/plain');
        if (text.length > LONG_PASTE) {
            event.preventDefault();
            this.#add({ name: this.#nameOfPaste(), text: text.replace(/\r\n?/g, '\n') });
        } else if (text === '' && clipboardData.files.length > 0) {
            event.preventDefault();
            this.#read([...clipboardData.files]);
        }
    }

    #nameOfPaste() {
        const names = new Set(this.#files.map(({ name }) => name));
        for (let i = 1; ; i++) {
            const name = i === 1 ? t('pastedText') : `${t('pastedText')} ${i}`;
            if (!names.has(name)) return name;
        }
    }

    async #read(files) {
        this.#problem = '';
        for (const file of files) {
            const { name, text, problem } = await readFile(file);
            if (problem) this.#fail(t(problem, { name }));
            else this.#add({ name, text });
        }
        byId('message').focus();
    }

    #add({ name, text }) {
        if (this.#files.length >= MAX_FILES) {
            this.#fail(t('filesTooMany', { count: MAX_FILES }));
            return;
        }
        const file = { name, text, tokens: estimateTokens(text) };
        this.#files.push(file);
        this.#show();
        this.#onChange(this.#files);
        say(t('fileAdded', { name }));
        this.#count(file);
    }

    #fail(problem) {
        this.#problem = problem;
        say(problem);
        this.#show();
    }

    #remove(file) {
        this.#files = this.#files.filter((other) => other !== file);
        this.#problem = '';
        this.#show();
        this.#onChange(this.#files);
        byId('message').focus();
    }

    async #count(file) {
        try {
            file.tokens = await countTokens(file.text);
            file.isCounted = true;
        } catch {
            return; // the estimate stays
        }
        if (!this.#files.includes(file)) return;
        this.#show();
        this.#onChange(this.#files);
    }

    #show() {
        this.#list.replaceChildren(...this.#files.map((file) => this.#chip(file)));
        this.#list.hidden = this.#files.length === 0;
        const tokens = this.#files.reduce((sum, file) => sum + file.tokens, 0);
        const context = this.#server.contextSize;
        const isTooLarge = context > 0 && tokens > context;
        let note = this.#problem;
        if (note === '' && isTooLarge) {
            note = t('filesTooLarge', { count: tokens, context });
        }
        this.#note.textContent = note;
        this.#note.hidden = note === '';
        this.#list.classList.toggle('too-large', isTooLarge);
    }

    #chip(file) {
        const count = t('tokens', { count: file.tokens });
        const name = element('bdi', 'chip-name', file.name);
        name.title = file.name;
        return element('li', 'chip', name,
            element('span', 'chip-size', file.isCounted ? count : t('about', { amount: count })),
            button('chip-remove round', { iconName: 'remove', label: t('removeFile', { name: file.name }) },
                () => this.#remove(file)));
    }
}

/** Returns the files of a question, each to be unfolded. */
export function fileList(files) {
    return element('ul', 'sent-files', ...files.map(({ name, text, tokens }) => {
        const content = element('pre', '', text);
        content.dir = 'auto';
        content.tabIndex = 0;
        content.setAttribute('aria-label', name);
        const size = tokens > 0 ? t('tokens', { count: tokens }) : '';
        return element('li', '', element('details', 'sent-file',
            element('summary', '', element('bdi', 'chip-name', name), element('span', 'chip-size', size)),
            content));
    }));
}

// Code on the page, in colours line by line while it grows. highlight.js is loaded with the first code.

import { element } from '../base/dom.js';
import { copyButton } from '../base/copy.js';
import { t } from '../base/i18n.js';

// Longer code keeps one colour: to colour it would hold up the page.
const LIMIT = 20000; // characters
// Lines that are laid out together: the browser does that again for all of them when one grows.
const GROUP = 16;

const ENTITIES = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#x27;': "'" };
const MARKUP = /<span class="([^"]*)">|<\/span>|([^<]+)/g;

let hljs = null;
let loading = null;

/** Loads highlight.js; it never fails. */
export function loadHighlighter() {
    loading ??= import('highlight.js').then((module) => {
        hljs = module.default;
        hljs.configure({ hideUpgradeWarningAcceptNoSupportOrSecurityUpdates: true });
    }, () => {
        loading = null; // offline: the next code tries again
    });
    return loading;
}

/**
 * Returns what highlight.js writes as runs {names, text}: text with the classes of the spans around it,
 * the outermost first. A run ends with its line, so that it is the same wherever the code was cut.
 */
function runsOf(markup) {
    const runs = [];
    const around = [];
    for (const [tag, names, text] of markup.matchAll(MARKUP)) {
        if (names !== undefined) around.push(/^hljs-[\w-]+$/.test(names) ? names : '');
        else if (text === undefined) around.pop();
        else {
            const plain = tag.replace(/&(?:amp|lt|gt|quot|#x27);/g, (name) => ENTITIES[name]);
            const path = around.filter((name) => name !== '').join(' ');
            for (const line of plain.match(/[^\n]*\n|[^\n]+/g)) {
                const last = runs.at(-1);
                if (last?.names === path && !last.text.endsWith('\n')) last.text += line;
                else runs.push({ names: path, text: line });
            }
        }
    }
    return runs;
}

function nodeOf({ names, text }) {
    let node = document.createTextNode(text);
    if (names === '') return node;
    for (const name of names.split(' ').reverse()) node = element('span', name, node);
    return node;
}

const frames = new WeakMap(); // frame -> Code

/** The code of a frame: grow() adds to it, settle() says that it is complete. */
class Code {
    frame;
    language;
    text = '';
    #code = element('code', '');
    #tail = document.createTextNode(''); // a line that is not complete, or has no colours yet
    #lines = 0; // before the tail
    #length = 0; // in characters
    #runs = [];
    #top; // the state of highlight.js behind them

    constructor(language, text) {
        this.language = language;
        if (language !== '') this.#code.className = `language-${language}`;
        const pre = element('pre', '', this.#code);
        pre.tabIndex = 0;
        const head = element('div', 'code-head', element('span', '', language),
            copyButton(() => this.text, { label: t('copyCode') }));
        this.frame = element('div', 'code', head, pre);
        this.frame.dir = 'ltr';
        frames.set(this.frame, this);
        this.#show(text, []);
        this.#tail.data = text;
    }

    /** Adds what `text` has more than before. Returns false if it is another text. */
    grow(text) {
        if (text === this.text) return true;
        if (text.startsWith(this.text)) {
            this.#tail.appendData(text.slice(this.text.length));
        } else if (text.trimEnd() === this.text.trimEnd()) {
            this.#tail.data = text.slice(this.#length); // the line end before the closing fence
        } else {
            return false;
        }
        this.text = text;
        if (this.#isColourful && !hljs) loadHighlighter();
        else this.#take(text.trimEnd().lastIndexOf('\n') + 1);
        return true;
    }

    /** Colours all of it. */
    async settle() {
        if (!this.#isColourful) return;
        const { text } = this;
        if (!hljs) await loadHighlighter();
        if (!hljs?.getLanguage(this.language) || text !== this.text) return;
        if (this.#length > 0) this.#take(text.length);
        // Most code has the same colours line by line and as a whole; scripts in HTML do not.
        const runs = runsOf(hljs.highlight(this.language, text, true).value);
        if (JSON.stringify(runs) !== JSON.stringify(this.#runs)) this.#show(text, runs);
    }

    get #isColourful() {
        return this.language !== '' && this.text.length <= LIMIT;
    }

    /** Shows the whole text anew. */
    #show(text, runs) {
        this.text = text;
        this.#runs = [];
        this.#lines = 0;
        this.#length = 0;
        this.#tail.data = '';
        this.#code.replaceChildren(element('span', 'lines', this.#tail));
        this.#add(runs);
    }

    /** Adds runs before the tail. */
    #add(runs) {
        for (const run of runs) {
            this.#runs.push(run);
            this.#tail.before(nodeOf(run));
            this.#length += run.text.length;
            if (run.text.endsWith('\n') && ++this.#lines % GROUP === 0) {
                this.#code.append(element('span', 'lines', this.#tail));
            }
        }
    }

    /** Takes the text before `end` out of the tail. */
    #take(end) {
        if (end <= this.#length) return;
        const lines = this.text.slice(this.#length, end);
        this.#tail.deleteData(0, lines.length);
        const isColourful = this.#isColourful && hljs.getLanguage(this.language);
        for (const line of lines.match(/[^\n]*\n|[^\n]+/g)) {
            if (isColourful) {
                const { value, top } = hljs.highlight(this.language, line, true, this.#top);
                this.#top = top;
                this.#add(runsOf(value));
            } else {
                this.#add([{ names: '', text: line }]);
            }
        }
    }
}

/** Returns the frame of code, without colours yet. */
export const codeFrame = (language, text) => new Code(language, text).frame;

/** Returns the code of a frame. */
export const codeOf = (frame) => frames.get(frame);

/** Colours the code of `root` and below, now or when highlight.js is there. */
export function settleCode(root) {
    frames.get(root)?.settle();
    for (const frame of root.querySelectorAll('.code')) frames.get(frame)?.settle();
}

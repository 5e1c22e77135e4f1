// Renders the text of a model. It is untrusted: marked treats HTML as text, DOMPurify passes only the
// elements of Markdown, and the Content-Security-Policy backs up both.

import createDOMPurify from './vendor/dompurify.js';
import hljs from './vendor/highlight.js';
import markedLibrary from './vendor/marked.js';
import { copyButton } from './copy.js';
import { t } from './i18n.js';

const { marked } = markedLibrary;

// A tab inside a code block: marked would turn it into blanks, and a copied Makefile would break.
const CODE_TAB = '\ue009';
// Longer code is not highlighted: doing it again for every piece would cost too much.
const HIGHLIGHT_LIMIT = 20000;

const HARMLESS_TAG = /^<\/?(?:br|kbd|mark|sub|sup|u)\s*\/?>/i;
// ends before Chinese text and punctuation, which follow an address without a space
const ADDRESS = /^https?:\/\/[^\s<>"'`\u2018-\u201d\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]+/i;
// CommonMark does not recognise the end of **注意：**请, because no space follows the punctuation
const CJK = /[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]/;
const STRONG = /^\*\*(?![\s*])([^*\n]+)(?<!\s)\*\*(?!\*)/;

const cjkStrong = {
    name: 'cjkStrong',
    level: 'inline',
    start: (text) => text.indexOf('**'),
    tokenizer(text) {
        const match = STRONG.exec(text);
        if (!match || !CJK.test(match[1])) return undefined;
        return { type: 'cjkStrong', raw: match[0], tokens: this.lexer.inlineTokens(match[1], []) };
    },
    renderer(token) {
        return `<strong>${this.parser.parseInline(token.tokens)}</strong>`;
    },
};

const tokenizer = {
    html: () => undefined,
    tag(text) {
        const match = HARMLESS_TAG.exec(text);
        return match ? { type: 'html', raw: match[0], text: match[0] } : undefined;
    },
    url(text) {
        const address = ADDRESS.exec(text)?.[0].replace(/[.,;:!?)\]*_~]+$/, '');
        if (!address || address.endsWith('//')) return undefined;
        return {
            type: 'link',
            raw: address,
            text: address,
            href: address,
            tokens: [{ type: 'text', raw: address, text: escapeHtml(address) }],
        };
    },
};

const renderer = {
    code(code, info) {
        const language = /^[\w+#.-]+/.exec(info ?? '')?.[0].toLowerCase() ?? '';
        const name = language.replaceAll('+', 'p').replaceAll('#', 'sharp').replace(/[^\w-]/g, '');
        return `<pre><code class="language-${name}">${highlight(code, language)}\n</code></pre>\n`;
    },
    // an image would tell a foreign host that it is read: its address is shown instead
    image(href, title, text) {
        return `<a href="${escapeHtml(href ?? '')}">${escapeHtml(text || href)}</a>`;
    },
    checkbox: (checked) => (checked ? '☑ ' : '☐ '),
};

marked.use({ gfm: true, breaks: true, headerIds: false, mangle: false }, { tokenizer, renderer }, {
    extensions: [cjkStrong],
});
hljs.configure({ hideUpgradeWarningAcceptNoSupportOrSecurityUpdates: true });

const CODE_CLASS = /^(?:hljs|language)-[\w-]+$/;
const purifier = createDOMPurify(window);
const purifierOptions = {
    RETURN_DOM_FRAGMENT: true,
    ALLOWED_TAGS: ['#text', 'a', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4',
        'h5', 'h6', 'hr', 'kbd', 'li', 'mark', 'ol', 'p', 'pre', 'span', 'strong', 'sub', 'sup', 'table',
        'tbody', 'td', 'th', 'thead', 'tr', 'u', 'ul'],
    ALLOWED_ATTR: ['align', 'class', 'href', 'start'],
    ADD_URI_SAFE_ATTR: ['align', 'start'],
    ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
};

purifier.addHook('afterSanitizeAttributes', (node) => {
    if (node.hasAttribute('class')) {
        // only the colours of code: other classes could make text look like a part of the page
        const names = node.className.split(/\s+/).filter((name) => CODE_CLASS.test(name));
        if (names.length > 0) node.className = names.join(' ');
        else node.removeAttribute('class');
    }
    if (node.hasAttribute('href')) {
        node.setAttribute('target', '_blank');
        node.setAttribute('rel', 'noopener noreferrer');
    }
});

function escapeHtml(text) {
    const names = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
    return text.replace(/[&<>"']/g, (char) => names[char]);
}

function highlight(code, language) {
    const text = code.replaceAll(CODE_TAB, '\t');
    if (text.length > HIGHLIGHT_LIMIT || !hljs.getLanguage(language)) return escapeHtml(text);
    return hljs.highlight(language, text, true).value;
}

/**
 * Returns the text with the line ends and tabs that marked uses, so that the text of its tokens equals
 * ours. It ends with a line end: without it, marked does not recognise that a code block has begun.
 * `inCode` is whether the text ends inside a code block.
 */
function normalize(source) {
    let fence = '';
    const lines = source.replace(/\r\n?/g, '\n').split('\n').map((line) => {
        const mark = /^[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?(`{3,}|~{3,})(.*)$/.exec(line);
        if (fence !== '') {
            if (mark && mark[1].startsWith(fence) && mark[2].trim() === '') fence = '';
            else return line.replaceAll('\t', CODE_TAB);
        } else if (mark && !mark[2].includes('`')) {
            fence = mark[1];
        }
        return line.replace(/^( *)(\t+)/, (_, blanks, tabs) => blanks + '    '.repeat(tabs.length));
    });
    return { text: `${lines.join('\n')}\n`, inCode: fence !== '' };
}

/** Returns sanitized HTML as a fragment. */
export function sanitize(html) {
    return purifier.sanitize(html, purifierOptions);
}

function decorate(fragment) {
    for (const code of fragment.querySelectorAll('pre > code')) {
        const pre = code.parentElement;
        const frame = document.createElement('div');
        const head = document.createElement('div');
        const name = document.createElement('span');
        frame.className = 'code';
        head.className = 'code-head';
        name.textContent = /language-([\w-]+)/.exec(code.className)?.[1] ?? '';
        const text = () => code.textContent.replace(/\n$/, '');
        head.append(name, copyButton(text, { label: t('copyCode') }));
        pre.tabIndex = 0;
        pre.replaceWith(frame);
        frame.append(head, pre);
    }
    for (const table of fragment.querySelectorAll('table')) {
        const frame = document.createElement('div');
        frame.className = 'table';
        frame.tabIndex = 0;
        table.replaceWith(frame);
        frame.append(table);
    }
    return fragment;
}

function renderTokens(tokens) {
    return decorate(sanitize(marked.parser(tokens).replaceAll(CODE_TAB, '\t')));
}

/** Returns Markdown as a fragment that is safe to insert into the page. */
export function renderMarkdown(text) {
    return renderTokens(marked.lexer(normalize(text).text));
}

// A last line that is only a marker so far: "-" may become a list, a rule, a heading of the line above
const UNDECIDED_LINE = /(?:^|\n)[ \t]*(?:[-=*+_#>`~|]+|\d{1,3}[.)]?)[ \t]*$/;

/** Returns the text that closes the emphasis or code of the last line; '' if nothing is open. */
function closing(text) {
    const line = text.slice(text.lastIndexOf('\n') + 1);
    if (line.split('`').length % 2 === 0) return '`';
    return line.split('**').length % 2 === 0 && !/[\s*]$/.test(line) ? '**' : '';
}

/**
 * Renders growing Markdown. Only the last block can still change, so all blocks before it are rendered
 * once and kept: a piece of a long answer costs no more than one of a short answer, and text that the
 * reader has selected stays selected.
 */
export class GrowingMarkdown {
    #element;
    #last;
    #settled = [];
    #settledLength = 0;

    constructor(element) {
        this.#element = element;
        this.#last = document.createElement('div');
        this.#last.className = 'last';
        element.replaceChildren(this.#last);
    }

    /** Renders the text so far. */
    update(text) {
        this.#render(text.replace(UNDECIDED_LINE, ''), true);
    }

    /** Renders the complete text. */
    finish(text) {
        this.#render(text, false);
        // Rarely, later text changes a block before the last: a link defined further down, or an item
        // after a blank line that continues a list.
        const raws = marked.lexer(normalize(text).text).map((token) => token.raw);
        const same = this.#settled.every((raw, i) => raw === raws[i]);
        if (!same || /^ {0,3}\[[^\]]+\]:/m.test(text)) {
            this.#element.replaceChildren(renderMarkdown(text));
        } else {
            this.#last.replaceWith(...this.#last.childNodes);
        }
    }

    #render(source, growing) {
        const { text, inCode } = normalize(source);
        const tokens = marked.lexer(text.slice(this.#settledLength));
        let last = tokens.length - 1;
        while (last > 0 && tokens[last].type === 'space') last--;
        const settled = tokens.slice(0, Math.max(last, 0));
        if (settled.length > 0) {
            this.#last.before(renderTokens(settled));
            for (const { raw } of settled) {
                this.#settled.push(raw);
                this.#settledLength += raw.length;
            }
        }
        let rest = tokens.slice(settled.length);
        const open = growing && !inCode && rest.length > 0 ? closing(source) : '';
        if (open !== '') rest = marked.lexer(rest[0].raw.trimEnd() + open);
        this.#last.replaceChildren(renderTokens(rest));
    }
}

// Renders the text of a model. It is untrusted: marked treats HTML as text, DOMPurify passes only the
// elements of Markdown, and the Content-Security-Policy backs up both.

import marked from 'marked';
import { element } from '../base/dom.js';
import { blockFormula, inlineFormula, maskFormulas } from './formula_syntax.js';
import { drawFormulas, formulaPlace } from './formulas.js';
import { codeFrame, settleCode } from './highlighting.js';
import { CODE_TAB, normalize } from './normalizer.js';
import { escapeHtml, sanitize } from './sanitizer.js';

export { normalize } from './normalizer.js';
export { sanitize } from './sanitizer.js';

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
    // a * or _ of a formula begins or ends no emphasis
    emStrong(text, masked, previous) {
        if (!/^[*_]/.test(text)) return undefined;
        return marked.Tokenizer.prototype.emStrong.call(this, text, maskFormulas(masked), previous);
    },
};

/** Returns {language, text} of a token of code. */
export function codeText({ lang, text }) {
    const language = /^[\w+#.-]+/.exec(lang ?? '')?.[0].toLowerCase() ?? '';
    return {
        language: language.replaceAll('+', 'p').replaceAll('#', 'sharp').replace(/[^\w-]/g, ''),
        text: text.replaceAll(CODE_TAB, '\t'),
    };
}

// Without the blank texts that marked writes between elements: each would be a node of the page.
const renderer = {
    code(code, info) {
        const { language, text } = codeText({ lang: info, text: code });
        return `<pre><code class="language-${language}">${escapeHtml(text)}</code></pre>`;
    },
    list: (items, isOrdered, start) => (isOrdered
        ? `<ol${start === 1 ? '' : ` start="${start}"`}>${items}</ol>` : `<ul>${items}</ul>`),
    listitem: (text) => `<li>${text}</li>`,
    table: (head, rows) => `<table><thead>${head}</thead>${rows && `<tbody>${rows}</tbody>`}</table>`,
    tablerow: (cells) => `<tr>${cells}</tr>`,
    tablecell: (text, { header, align }) => `<${header ? 'th' : 'td'}`
        + `${align ? ` align="${align}"` : ''}>${text}</${header ? 'th' : 'td'}>`,
    paragraph: (text) => `<p>${text}</p>`,
    hr: () => '<hr>',
    blockquote: (text) => `<blockquote>${text}</blockquote>`,
    heading: (text, level) => `<h${level}>${text}</h${level}>`,
    // an image would tell a foreign host that it is read: its address is shown instead
    image(href, title, text) {
        return `<a href="${escapeHtml(href ?? '')}">${escapeHtml(text || href)}</a>`;
    },
    checkbox: (checked) => (checked ? '☑ ' : '☐ '),
};

marked.use({ gfm: true, breaks: true, headerIds: false, mangle: false }, { tokenizer, renderer }, {
    extensions: [cjkStrong, inlineFormula, blockFormula],
});

// Each text has a direction of its own: an Arabic answer may have an English paragraph. Markers, borders
// and columns are on the side where the first text of their element begins.
const TEXTS = 'p, li, h1, h2, h3, h4, h5, h6, th, td';
const CONTAINERS = 'ul, ol, blockquote, table';
const FROM_RIGHT = /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u;

function decorate(fragment) {
    for (const code of fragment.querySelectorAll('pre > code')) {
        const language = /language-([\w-]+)/.exec(code.className)?.[1] ?? '';
        code.parentElement.replaceWith(codeFrame(language, code.textContent));
    }
    for (const code of fragment.querySelectorAll('code[class^="formula-"]')) {
        const isDisplay = code.className === 'formula-display';
        code.replaceWith(formulaPlace(code.textContent, isDisplay));
    }
    for (const table of fragment.querySelectorAll('table')) {
        const frame = element('div', 'table');
        frame.tabIndex = 0;
        table.replaceWith(frame);
        frame.append(table);
    }
    for (const node of fragment.querySelectorAll(TEXTS)) node.dir = 'auto';
    for (const node of fragment.querySelectorAll(CONTAINERS)) {
        if (FROM_RIGHT.test(node.textContent)) node.dir = 'rtl';
    }
    return fragment;
}

/**
 * Returns tokens of marked as a fragment that is safe to insert into the page, with places for formulas
 * and code without colours: see finish().
 */
export function renderTokens(tokens) {
    return decorate(sanitize(marked.parser(tokens).replaceAll(CODE_TAB, '\t')));
}

/** Draws the formulas and colours the code below `root`: now, or as soon as their libraries are there. */
export function finish(root) {
    drawFormulas(root);
    settleCode(root);
}

/** Returns the blocks of normalized text. */
export const lexer = (text) => marked.lexer(text);

/** Returns Markdown as a fragment that is safe to insert into the page. */
export function renderMarkdown(text) {
    const fragment = renderTokens(lexer(normalize(text).text));
    finish(fragment);
    return fragment;
}

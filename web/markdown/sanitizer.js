// The HTML that may get into the page. The text of a model is untrusted: these lists name the elements
// and attributes that Markdown and KaTeX write, and nothing else passes.

import createDOMPurify from 'dompurify';

// the colours of code, and formulas to be: other classes could make text look like a part of the page
const CLASS = /^(?:(?:hljs|language)-[\w-]+|formula-(?:inline|display))$/;

const COMMON = {
    RETURN_DOM_FRAGMENT: true,
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
};

const MARKDOWN = {
    ...COMMON,
    ALLOWED_TAGS: ['#text', 'a', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4',
        'h5', 'h6', 'hr', 'kbd', 'li', 'mark', 'ol', 'p', 'pre', 'span', 'strong', 'sub', 'sup', 'table',
        'tbody', 'td', 'th', 'thead', 'tr', 'u', 'ul'],
    ALLOWED_ATTR: ['align', 'class', 'href', 'start'],
    ADD_URI_SAFE_ATTR: ['align', 'start'],
    ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
};

// As KaTeX 0.16 writes them with `trust: false`. Without `href`, `src`, `style` and `class`.
const FORMULA_ATTRIBUTES = ['accent', 'accentunder', 'columnalign', 'columnlines', 'columnspacing',
    'depth', 'display', 'displaystyle', 'encoding', 'fence', 'height', 'largeop', 'linebreak',
    'linethickness', 'lspace', 'mathbackground', 'mathcolor', 'mathsize', 'mathvariant', 'maxsize',
    'minsize', 'notation', 'rowlines', 'rowspacing', 'rspace', 'scriptlevel', 'separator', 'stretchy',
    'symmetric', 'valign', 'voffset', 'width'];
const FORMULA = {
    ...COMMON,
    ALLOWED_TAGS: ['#text', 'annotation', 'math', 'menclose', 'mfrac', 'mi', 'mn', 'mo', 'mover',
        'mpadded', 'mphantom', 'mroot', 'mrow', 'mspace', 'msqrt', 'mstyle', 'msub', 'msubsup', 'msup',
        'mtable', 'mtd', 'mtext', 'mtr', 'munder', 'munderover', 'semantics'],
    ALLOWED_ATTR: FORMULA_ATTRIBUTES,
    ADD_URI_SAFE_ATTR: FORMULA_ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^$/,
};

const markdown = createDOMPurify(window);
const formulas = createDOMPurify(window);

markdown.addHook('afterSanitizeAttributes', (node) => {
    if (node.hasAttribute('class')) {
        const names = node.className.split(/\s+/).filter((name) => CLASS.test(name));
        if (names.length > 0) node.className = names.join(' ');
        else node.removeAttribute('class');
    }
    if (node.hasAttribute('href')) {
        node.setAttribute('target', '_blank');
        node.setAttribute('rel', 'noopener noreferrer');
    }
});

/** Returns the HTML that Markdown became as a fragment that is safe to insert into the page. */
export const sanitize = (html) => markdown.sanitize(html, MARKDOWN);

/** Returns the HTML of a formula as a fragment that is safe to insert into the page. */
export const sanitizeFormula = (html) => formulas.sanitize(html, FORMULA);

export function escapeHtml(text) {
    const names = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
    return text.replace(/[&<>"']/g, (char) => names[char]);
}

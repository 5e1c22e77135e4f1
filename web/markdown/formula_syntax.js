// Formulas in Markdown: \( \), \[ \] and $$ $$. A single $ is money. They are recognised before marked
// takes the backslashes for escapes, and never inside code.

import { escapeHtml } from './sanitizer.js';

const LIMIT = 2000; // characters; longer ones are shown as they are written

/** The source of a formula that is not complete yet. */
export const UNFINISHED = '\ue00a';

// A pair \x counts as one, so that the \\[2pt] of a matrix is no delimiter. There is no blank line in a
// formula and no other beginning, so that what is never closed is searched once.
const ROUND = String.raw`\\\(((?:\\(?![()])[^]|(?!\n[ \t]*\n)[^\\])+?)\\\)`;
const SQUARE = String.raw`\\\[((?:\\(?![[\]])[^]|(?!\n[ \t]*\n)[^\\])+?)\\\]`;
const DOLLARS = String.raw`\$\$(?!\$)((?:\\[^]|(?!\n[ \t]*\n)[^\\$])+?)\$\$(?!\$)`;
const INLINE = new RegExp(`^(?:${ROUND}|${SQUARE}|${DOLLARS})`);
const BLOCK = new RegExp(`^ {0,3}(?:${SQUARE}|${DOLLARS})[ \\t]*(?:\\n+|$)`);
const ANY = new RegExp(`${ROUND}|${SQUARE}|${DOLLARS}`, 'g');

// "$$ and $$": prices of restaurants, not a formula
const looksLikeFormula = (text) => /[\\^_=+<>{}()\d\ue00a]|^\s*\S\s*$/.test(text);

function found(match) {
    if (!match || match[0].length > LIMIT) return null;
    const [raw, round, square, dollars] = match;
    if (dollars !== undefined && !looksLikeFormula(dollars)) return null;
    const text = (round ?? square ?? dollars).trim();
    return text === '' ? null : { raw, text, isDisplay: round === undefined };
}

const html = ({ text, isDisplay }) => `<code class="formula-${isDisplay ? 'display' : 'inline'}">`
    + `${escapeHtml(text)}</code>`;

export const inlineFormula = {
    name: 'formula',
    level: 'inline',
    start: (text) => /\\[([]|\$\$/.exec(text)?.index,
    tokenizer(text) {
        const formula = found(INLINE.exec(text));
        return formula ? { type: 'formula', ...formula } : undefined;
    },
    renderer: html,
};

export const blockFormula = {
    name: 'formulaBlock',
    level: 'block',
    start: (text) => {
        const match = /\n {0,3}(?:\\\[|\$\$)/.exec(text);
        return match ? match.index + 1 : undefined;
    },
    tokenizer(text) {
        const match = BLOCK.exec(text);
        const formula = found(match && [match[0], undefined, match[1], match[2]]);
        return formula ? { type: 'formulaBlock', ...formula } : undefined;
    },
    renderer: (token) => `<p>${html(token)}</p>`,
};

let masked = ['', '']; // marked asks for the same text at each of its emphases

/** Returns the text with characters in place of formulas that mean nothing in Markdown. */
export function maskFormulas(text) {
    if (masked[0] !== text) masked = [text, text.replace(ANY, (raw) => 'x'.repeat(raw.length))];
    return masked[1];
}

const CODE_OR_ESCAPE = /(`+)[^`]+\1(?!`)|\\[^([\])]/g;
const OPENER = /\\\(|\\\[|\$\$/g;
const LINE_START = /(?:^|\n)[ \t>]*(?:[-*+][ \t]+|\d+[.)][ \t]+)?$/;
const CLOSERS = { '\\(': '\\)', '\\[': '\\]', $$: '$$' };

/**
 * Returns the growing text of a block with an unfinished formula at its end replaced, so that no reader
 * sees its source flicker by.
 */
export function closeFormula(text) {
    const cut = text.replace(/(?:\\|(?<!\$)\$)$/, ''); // may become a delimiter
    const start = Math.max(cut.lastIndexOf('\n\n') + 1, cut.length - LIMIT, 0);
    const end = cut.slice(start);
    const plain = maskFormulas(end).replace(CODE_OR_ESCAPE, (raw) => 'x'.repeat(raw.length));
    const lineStart = plain.lastIndexOf('\n') + 1;
    for (const { 0: delimiter, index: at } of plain.matchAll(OPENER)) {
        // within a text, a formula ends on its line; one that begins a line may have several
        const isOnLine = delimiter === '\\(' || !LINE_START.test(plain.slice(0, at));
        if (at < lineStart && isOnLine) continue;
        return cut.slice(0, start + at) + delimiter + UNFINISHED + CLOSERS[delimiter];
    }
    return cut;
}

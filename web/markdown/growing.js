// Renders Markdown that grows.

import { CUTS } from './cuts.js';
import { closeFormula } from './formula_syntax.js';
import { drawFormulas } from './formulas.js';
import { codeOf, settleCode } from './highlighting.js';
import { codeText, lexer, renderTokens } from './markdown.js';
import { Normalizer, normalize } from './normalizer.js';
import { patchChildren, patchNode } from './patch.js';

// A last line that is only a marker so far: "-" may become a list, a rule, a heading of the line above
const UNDECIDED_LINE = /^[ \t]*(?:[-=*+_#>`~|]+|\d{1,3}[.)]?)[ \t]*$/;

/** Returns the text that closes the emphasis or code of a line; '' if nothing is open. */
function closing(line) {
    if (line.split('`').length % 2 === 0) return '`';
    return line.split('**').length % 2 === 0 && !/[\s*]$/.test(line) ? '**' : '';
}

/** Returns the source of an open block as it is shown: what is not closed yet is closed. */
function closed(raw) {
    const text = closeFormula(raw.trimEnd());
    return `${text}${closing(text.slice(text.lastIndexOf('\n') + 1))}\n`;
}

const UNCUT = { raw: '', head: '', kept: 0 };

/** A block of the text on the page: the element of a token of marked. */
class Block {
    element;
    #token;

    constructor(token) {
        this.#token = token;
        this.element = renderTokens([token]).firstElementChild;
    }

    get type() {
        return this.#token.type;
    }

    /** Shows what the token has become, behind `kept` parts; only what is new changes on the page. */
    update(token, kept) {
        this.#token = token;
        if (this.type === 'code' && this.#growCode(token)) return;
        const [next] = renderTokens([token]).children;
        if (kept > 0) {
            const { parent } = CUTS[this.type];
            patchChildren(parent(this.element), parent(next), kept);
        } else if (!patchNode(this.element, next)) {
            this.element.replaceWith(next);
            this.element = next;
        }
    }

    /** Returns a cut behind which the block goes on, null if there is none; see cuts.js. */
    cut(kept) {
        return CUTS[this.type]?.cut(this.#token, this.element, kept) ?? null;
    }

    #growCode(token) {
        const code = codeOf(this.element);
        const { language, text } = codeText(token);
        return code.language === language && code.grow(text);
    }
}

/**
 * Renders growing Markdown. Only the last block can still change, so all blocks before it are rendered
 * once and kept, and of the last one what is complete of it: a piece of a long answer costs no more than
 * one of a short answer, and text that the reader has selected stays selected.
 */
export class GrowingMarkdown {
    #element;
    #normalizer = new Normalizer();
    #open = []; // blocks that can still change: one, or two if an open formula cuts it
    #settled = []; // the sources of those before them
    #settledLength = 0;
    #cut = UNCUT; // of the first open block

    constructor(element) {
        this.#element = element;
        element.replaceChildren();
    }

    /** Renders the text so far. */
    update(source) {
        const { text, line, inCode } = this.#normalizer.update(source);
        const shown = UNDECIDED_LINE.test(line) ? text.slice(0, -line.length - 1) : text;
        let tokens = this.#lex(shown);
        while (tokens.at(-1)?.type === 'space') tokens.pop();
        for (const token of tokens.splice(0, tokens.length - 1)) this.#settle(token);
        if (tokens.length > 0 && !inCode && tokens[0].type !== 'code') {
            tokens = this.#fit(lexer(closed(tokens[0].raw))) ?? tokens;
        }
        tokens = tokens.filter(({ type }) => type !== 'space');
        tokens.forEach((token, i) => this.#show(i, token));
        for (const block of this.#open.splice(tokens.length)) block.element?.remove();
        for (const { element } of this.#open) if (element) drawFormulas(element);
        if (tokens.length === 1) this.#cutOpen(tokens[0], shown);
    }

    /** Renders the complete text. */
    finish(source) {
        const { text } = normalize(source);
        for (const token of this.#lex(text)) this.#settle(token);
        for (const { element } of this.#open) element?.remove();
        this.#open = [];
        // Rarely, later text changes a block before the last: a link defined further down, or an item
        // after a blank line that continues a list.
        const tokens = lexer(text);
        const isSame = tokens.length === this.#settled.length
            && this.#settled.every((raw, i) => raw === tokens[i].raw);
        if (isSame && !/^ {0,3}\[[^\]]+\]:/m.test(source)) return;
        patchChildren(this.#element, renderTokens(tokens));
        drawFormulas(this.#element);
        settleCode(this.#element);
    }

    /** Returns the tokens of what is not settled, the first one only behind the cut. */
    #lex(text) {
        const open = text.slice(this.#settledLength);
        const { raw, head } = this.#cut;
        const tokens = this.#fit(lexer(head + open.slice(raw.length)));
        if (tokens) return tokens;
        this.#cut = UNCUT;
        return lexer(open);
    }

    /** Returns the tokens if the first one goes on with the block that is cut, null if it does not. */
    #fit(tokens) {
        const { token } = this.#cut;
        if (!token) return tokens;
        const [first] = tokens;
        if (first?.type !== token.type || !CUTS[token.type].isSame(token, first)) return null;
        first.loose = token.loose;
        return tokens;
    }

    /** Cuts the only block that can still change, if it can be cut. */
    #cutOpen(token, shown) {
        const { raw, head, kept } = this.#cut;
        const cut = this.#open[0].cut(kept);
        if (!cut) return;
        const before = raw + cut.raw.slice(head.length);
        if (shown.startsWith(before, this.#settledLength)) this.#cut = { ...cut, raw: before, token };
    }

    /** Shows a token that will not change any more. */
    #settle(token) {
        const { raw, head, kept } = this.#cut;
        const whole = raw + token.raw.slice(head.length);
        this.#settled.push(whole);
        this.#settledLength += whole.length;
        if (token.type === 'space') return;
        this.#show(0, token);
        this.#cut = UNCUT;
        const { element } = this.#open.shift();
        if (!element) return;
        if (kept > 0) element.normalize(); // a cut divides a text
        drawFormulas(element);
        settleCode(element);
    }

    #show(index, token) {
        const old = this.#open[index];
        if (old?.type === token.type && old.element) {
            old.update(token, index === 0 ? this.#cut.kept : 0);
            return;
        }
        const block = new Block(token);
        const next = this.#open[index + 1]?.element ?? null;
        old?.element?.remove();
        if (block.element) this.#element.insertBefore(block.element, next);
        this.#open[index] = block;
    }
}

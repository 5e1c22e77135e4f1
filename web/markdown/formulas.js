// Formulas as MathML, which browsers draw without fonts or styles of ours. KaTeX is loaded when the first
// formula is seen.

import { element } from '../base/dom.js';
import { UNFINISHED } from './formula_syntax.js';
import { adaptFormula } from './formula_layout.js';
import { sanitizeFormula } from './sanitizer.js';

// Larger ones are shown as they are written: browsers lay out each level several times.
const MAX_DEPTH = 50;
const MAX_NODES = 2000;
const OPTIONS = {
    output: 'mathml',
    throwOnError: true,
    strict: 'ignore',
    trust: false,
    maxExpand: 500,
    maxSize: 20, // em
};
// Definitions are refused: one that doubles its argument writes 2^n tokens in n expansions.
const DEFINES = /\\(?:[egx]?def|let|futurelet|(?:re|provide)?(?:new)?command|global|long|char|@\w+)(?![a-z])/i;

let katex = null;
let loading = null;

/** Loads KaTeX; it never fails. */
export function loadKatex() {
    loading ??= import('katex').then((module) => {
        katex = module.default;
    }, () => {
        loading = null; // offline: the next formula tries again
    });
    return loading;
}

function isTooLarge(math) {
    const nodes = math.querySelectorAll('*');
    if (nodes.length > MAX_NODES) return true;
    const depths = new Map([[math, 0]]);
    for (const node of nodes) depths.set(node, depths.get(node.parentNode) + 1);
    return Math.max(...depths.values()) > MAX_DEPTH;
}

/** Returns the MathML of a formula, null if KaTeX does not understand it. */
function mathOf(text, isDisplay) {
    if (DEFINES.test(text)) return null;
    try {
        const markup = katex.renderToString(text, { ...OPTIONS, displayMode: isDisplay, macros: {} });
        const math = sanitizeFormula(markup).querySelector('math');
        if (math === null || isTooLarge(math)) return null;
        adaptFormula(math);
        return math;
    } catch {
        return null; // an error in the formula, or a stack that is too deep
    }
}

function fill(formula) {
    const source = formula.querySelector('.tex');
    const isDisplay = formula.classList.contains('display');
    const math = mathOf(source.textContent.slice(2, -2), isDisplay);
    formula.classList.remove('waiting');
    if (math === null) return;
    source.hidden = true;
    formula.prepend(math);
}

/** Returns the place of a formula on the page; its source is shown if it cannot be drawn. */
export function formulaPlace(text, isDisplay) {
    if (text === UNFINISHED) {
        return element('span', `formula unfinished${isDisplay ? ' display' : ''}`, '…');
    }
    const [open, close] = isDisplay ? ['\\[', '\\]'] : ['\\(', '\\)'];
    const source = element('code', 'tex', open + text + close);
    const place = element('span', `formula waiting${isDisplay ? ' display' : ''}`, source);
    if (isDisplay) place.tabIndex = 0; // a wide one is scrolled with the keyboard
    return place;
}

/** Draws the formulas below `root` that are not drawn yet, now or when KaTeX is there. */
export function drawFormulas(root) {
    const waiting = root.querySelectorAll('.formula.waiting');
    if (waiting.length === 0) return;
    if (katex) {
        waiting.forEach(fill);
        return;
    }
    const places = [...waiting];
    loadKatex().then(() => {
        for (const place of places) {
            if (!place.classList.contains('waiting')) continue;
            if (katex) fill(place);
            else place.classList.remove('waiting');
        }
    });
}

/** Copies the selection with the source of formulas in place of their symbols. */
export function copyFormulas(event) {
    const selection = getSelection();
    const drawn = [...document.querySelectorAll('.formula:has(> math)')]
        .filter((formula) => selection.containsNode(formula, true));
    if (drawn.length === 0) return;
    // The browser knows best where lines end in the text of a selection: it is asked while the sources
    // are shown instead, before anything is painted.
    for (const formula of drawn) formula.classList.add('as-source');
    for (const { firstChild, lastChild } of drawn) {
        firstChild.setAttribute('hidden', '');
        lastChild.hidden = false;
    }
    const text = selection.toString();
    for (const { firstChild, lastChild } of drawn) {
        firstChild.removeAttribute('hidden');
        lastChild.hidden = true;
    }
    event.clipboardData.setData('text/plain', text);
    event.preventDefault();
}

// Changes elements on the page into what they have become, with as few changes as there are differences:
// what the reader has selected stays selected, and the browser lays out only what is new.

import { codeOf } from './highlighting.js';

const isText = (node) => node.nodeType === Node.TEXT_NODE;

function isSameElement(old, next) {
    return old.localName === next.localName && old.attributes.length === next.attributes.length
        && [...next.attributes].every(({ name, value }) => old.getAttribute(name) === value);
}

function patchText(old, next) {
    if (old.data === next.data) return;
    if (next.data.startsWith(old.data)) old.appendData(next.data.slice(old.data.length));
    else old.data = next.data;
}

/** Changes `old` into `next` if both are alike. Returns whether they are. */
export function patchNode(old, next) {
    if (isText(old) || isText(next)) {
        if (!isText(old) || !isText(next)) return false;
        patchText(old, next);
        return true;
    }
    if (next.classList.contains('code')) return patchCode(old, next);
    if (next.classList.contains('formula')) {
        // it may be drawn already, and is the same if its source is
        const source = next.querySelector('.tex')?.textContent;
        return old.classList.contains('formula')
            && old.querySelector('.tex')?.textContent === source
            && old.classList.contains('display') === next.classList.contains('display');
    }
    if (!isSameElement(old, next)) return false;
    patchChildren(old, next);
    return true;
}

function patchCode(old, next) {
    const [code, wanted] = [codeOf(old), codeOf(next)];
    return code?.language === wanted.language && code.grow(wanted.text);
}

/** Changes the children of `parent` from the index `from` on into those of `next`, which it takes. */
export function patchChildren(parent, next, from = 0) {
    let old = parent.childNodes[from] ?? null;
    for (const wanted of [...next.childNodes]) {
        if (old === null) {
            parent.append(wanted);
        } else if (patchNode(old, wanted)) {
            old = old.nextSibling;
        } else {
            const replaced = old;
            old = old.nextSibling;
            replaced.replaceWith(wanted);
        }
    }
    while (old !== null) {
        const surplus = old;
        old = old.nextSibling;
        surplus.remove();
    }
}

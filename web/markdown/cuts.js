// Where a block that grows can be cut: what is before the cut will not change, whatever comes, so that
// only the rest is parsed and compared again. For each type of block of marked:
//
//   cut(token, element, kept)  a cut of the block whose source is token.raw: {raw, head, kept}, or null.
//                              raw: the source before the cut; head: what the rest has to begin with, to
//                              be read as a part of the same block; kept: the children of the block's
//                              parent (see below) before the cut. `kept` are those of an earlier cut
//   isSame(token, rest)        whether the rest is a part of the block as it was cut
//   parent(element)            the element whose children the parts are

const LEAST = 300; // characters of a paragraph's rest: a cut makes one text into two

// Text that can begin emphasis, code, a link, a formula or an escape, and be completed by what comes
const OPENS = /[`[<\\]|\$\$|(?<!\w)_(?!\s)|[*~](?!\s)/;
// Inline tokens that are one node of the page each, and complete
const COMPLETE = ['br', 'cjkStrong', 'codespan', 'del', 'em', 'formula', 'link', 'strong', 'text'];

/** Returns where the last word of a text begins, behind a space or the punctuation of Chinese; 0: nowhere. */
const lastWord = (text) => /^[^]*[\s，。；！？](?=\p{L})/u.exec(text)?.[0].length ?? 0;

/** Cuts before a word, because a line that begins with a letter begins no other block. */
function cutParagraph({ raw, tokens }, element, kept) {
    if (raw.length < LEAST) return null;
    let length = 0;
    let cut = null;
    for (const [index, { type, raw: own }] of tokens.entries()) {
        if (!COMPLETE.includes(type)) break;
        const opening = type === 'text' ? own.search(OPENS) : -1;
        const offset = type === 'text' ? lastWord(opening < 0 ? own : own.slice(0, opening)) : 0;
        if (offset > 0) cut = { index, length, text: own.slice(0, offset) };
        if (opening >= 0) break;
        length += own.length;
    }
    const node = element.childNodes[kept + cut?.index];
    if (node?.nodeType !== Node.TEXT_NODE || !node.data.startsWith(cut.text)) return null;
    node.splitText(cut.text.length);
    return { raw: raw.slice(0, cut.length + cut.text.length), head: '', kept: kept + cut.index + 1 };
}

function cutList({ raw, items }, _, kept) {
    const before = items.slice(0, -1).map((item) => item.raw).join('');
    if (items.length < 2 || !raw.startsWith(before)) return null;
    return { raw: before, head: '', kept: kept + items.length - 1 };
}

function cutTable({ raw, rows }, _, kept) {
    const lines = raw.trimEnd().split('\n');
    if (rows.length < 2 || lines.length !== rows.length + 2) return null;
    return {
        raw: `${lines.slice(0, -1).join('\n')}\n`,
        head: `${lines.slice(0, 2).join('\n')}\n`,
        kept: kept + rows.length - 1,
    };
}

export const CUTS = {
    paragraph: { cut: cutParagraph, isSame: () => true, parent: (element) => element },
    list: {
        cut: cutList,
        // a blank line between items puts each item of the list into a paragraph
        isSame: (token, rest) => rest.ordered === token.ordered && (token.loose || !rest.loose),
        parent: (element) => element,
    },
    table: {
        cut: cutTable,
        isSame: (token, rest) => JSON.stringify(rest.align) === JSON.stringify(token.align),
        parent: (element) => element.querySelector('tbody'),
    },
};

// The text of a model with the line ends and tabs that marked uses, so that the text of its tokens equals
// ours.

// A tab inside a code block: marked would turn it into blanks, and a copied Makefile would break.
export const CODE_TAB = '\ue009';

const FENCE = /^[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?(`{3,}|~{3,})(.*)$/;

/** Normalizes text that grows: each line once. */
export class Normalizer {
    #text = ''; // of the complete lines
    #consumed = 0; // characters of the source that they were
    #fence = ''; // of the code block that they end in

    /** The number of characters of complete lines. */
    get settled() {
        return this.#text.length;
    }

    /**
     * Returns the normalized text, which ends with a line end: without it, marked does not recognise that
     * a code block has begun. `line` is the last line, `inCode` whether a code block is not closed.
     * `source` has to begin with that of the call before.
     */
    update(source) {
        // a CR at the end may be half of a CR LF
        const lines = source.slice(this.#consumed).split(/\r\n|\n|\r(?!$)/);
        const last = lines.pop().replace(/\r$/, '');
        for (const line of lines) this.#text += `${this.#line(line)}\n`;
        this.#consumed = source.length - (source.endsWith('\r') ? 1 : 0) - last.length;
        const fence = this.#fence;
        const line = this.#line(last);
        const inCode = this.#fence !== '';
        this.#fence = fence;
        return { text: `${this.#text}${line}\n`, line, inCode };
    }

    #line(line) {
        const mark = FENCE.exec(line);
        if (this.#fence !== '') {
            const isEnd = mark && mark[1].startsWith(this.#fence) && mark[2].trim() === '';
            if (!isEnd) return line.replaceAll('\t', CODE_TAB);
            this.#fence = '';
        } else if (mark && !mark[2].includes('`')) {
            this.#fence = mark[1];
        }
        return line.replace(/^( *)(\t+)/, (_, blanks, tabs) => blanks + '    '.repeat(tabs.length));
    }
}

/** Returns {text, line, inCode} of a whole text, as Normalizer.update() does. */
export const normalize = (source) => new Normalizer().update(source);

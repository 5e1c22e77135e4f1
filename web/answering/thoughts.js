// Thoughts of a model before its answer: in a field of their own (reasoning_content), or between <think>
// and </think> at the beginning of its text, as models write it that no server parses.

const OPEN = '<think>';
const CLOSE = '</think>';

/** Returns {thought, text, isThinking} of an answer: what it thought, and what it says. */
export function partsOf({ thought = '', content, state }) {
    const isWriting = state === 'writing';
    const begin = content.trimStart();
    const end = content.indexOf(CLOSE);
    if (begin.startsWith(OPEN) || end >= 0) {
        const start = begin.startsWith(OPEN) ? content.indexOf(OPEN) + OPEN.length : 0;
        return {
            thought: (thought + content.slice(start, end < 0 ? undefined : end)).trim(),
            text: end < 0 ? '' : content.slice(end + CLOSE.length).trimStart(),
            isThinking: end < 0 && isWriting,
        };
    }
    if (isWriting && OPEN.startsWith(begin)) {
        return { thought: thought.trim(), text: '', isThinking: true }; // half of <think>, or nothing
    }
    return { thought: thought.trim(), text: content, isThinking: false };
}

/** Measures how long an answer thinks. */
export class ThoughtClock {
    #start = 0;

    /** Returns the fields of an answer that follow from its text so far. */
    fieldsOf(message) {
        if (message.thoughtSeconds !== undefined) return {};
        const { thought, isThinking } = partsOf(message);
        if (thought === '') return {};
        this.#start ||= performance.now();
        return isThinking ? {} : { thoughtSeconds: (performance.now() - this.#start) / 1000 };
    }
}

// Calls of tools in an answer: fields of their own (tool_calls), or in the text as Qwen writes them.

const CALL = /<tool_call>\s*([^]*?)\s*(?:<\/tool_call>\s*|$)/g;

/** Adds the deltas of a stream to calls {name, text}: `text` are the arguments, JSON. */
export function addCalls(calls, deltas) {
    const added = calls.map((call) => ({ ...call }));
    for (const { index = 0, function: { name = '', arguments: text = '' } = {} } of deltas) {
        added[index] ??= { name: '', text: '' };
        added[index].name += name;
        added[index].text += text;
    }
    return added.filter(Boolean);
}

function callOf(source) {
    try {
        const { name, arguments: given } = JSON.parse(source);
        if (typeof name === 'string') return { name, text: JSON.stringify(given ?? {}) };
    } catch {
        // not complete, or not JSON: shown as it is
    }
    return { name: /"name"\s*:\s*"([^"\\]*)"/.exec(source)?.[1] ?? '', text: source };
}

/** Returns {text, calls}: a text without the calls in it, and these. */
export function splitCalls(text) {
    if (!text.includes('<tool_call>')) return { text, calls: [] };
    const calls = [];
    const rest = text.replace(CALL, (_, source) => {
        if (source !== '') calls.push(callOf(source));
        return '';
    });
    return { text: rest.trimEnd(), calls };
}

// Fields of messages that come from elsewhere: a file, or another client of the server. Those that have
// not the type that the page relies on are left out, so that no chat is there that cannot be shown.

const STATES = ['writing', 'complete', 'stopped', 'length', 'repetition', 'interrupted', 'failed'];
const LATEST_MS = 24 * 3600 * 1000; // later than now: of a clock that is wrong

const isText = (value) => typeof value === 'string';
const isNumber = Number.isFinite;
const isRecord = (value) => value?.constructor === Object;
const isCall = (call) => isRecord(call) && isText(call.name) && isText(call.text);

/** Whether a value is a time that was, in milliseconds. */
export const isTime = (value) => (
    Number.isSafeInteger(value) && value > 0 && value < Date.now() + LATEST_MS);

const KINDS = {
    thought: isText,
    thoughtSeconds: isNumber,
    calls: (calls) => Array.isArray(calls) && calls.every(isCall),
    files: Array.isArray, // filesOf() looks at each
    stats: (stats) => isRecord(stats) && Object.values(stats).every(isNumber),
    state: (state) => STATES.includes(state),
    answerId: isText,
    events: Number.isSafeInteger,
    readsFrom: (id) => id === null || isText(id),
};

/** Returns a message without the fields that are not what they should be. */
export function soundMessage(message) {
    const isSound = ([name, value]) => !Object.hasOwn(KINDS, name) || KINDS[name](value);
    return Object.fromEntries(Object.entries(message).filter(isSound));
}

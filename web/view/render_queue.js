// Rendering of messages that are not seen yet: a chat opens with what is in view, the newest first, and
// the rest follows when the browser has time, before it is printed, or when it is scrolled to.

const SLICE_MS = 8;

const waiting = new Map(); // element -> function
let timer = 0;

function work() {
    timer = 0;
    const end = performance.now() + SLICE_MS;
    const newestFirst = [...waiting.keys()].reverse();
    for (const element of newestFirst) {
        if (performance.now() >= end) break;
        render(element);
    }
    if (waiting.size > 0) timer = setTimeout(work);
}

function render(element) {
    const draw = waiting.get(element);
    waiting.delete(element);
    draw?.();
}

/** Calls `draw` later, at the latest when the element comes into view. */
export function renderLater(element, draw) {
    if (waiting.size === 0 && timer === 0) queueMicrotask(work); // the first ones before the next paint
    waiting.set(element, draw);
}

/** An element that is drawn already waits no more. */
export const renderedNow = (element) => waiting.delete(element);

/** Draws what waits below a message that comes into view. */
export function renderVisible({ target, skipped }) {
    if (skipped || !target.matches('.message')) return;
    for (const element of waiting.keys()) {
        if (target.contains(element)) render(element);
    }
}

/** Draws all that waits. */
export function renderAll() {
    for (const element of [...waiting.keys()]) render(element);
}

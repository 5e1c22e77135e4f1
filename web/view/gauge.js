// How much of the longest conversation is used: a ring and two numbers below the composer; and the line
// in the chat from where on the model still reads.

import { byId, element } from '../base/dom.js';
import { t } from '../base/i18n.js';

const CIRCUMFERENCE = 2 * Math.PI * 7; // of the ring in index.html
const NEARLY_FULL = 0.85;

export class Gauge {
    #gauge = byId('gauge');
    #ring = byId('gauge-ring');
    #text = byId('gauge-text');

    /** Shows the tokens of a conversation; `size` 0 is not known. */
    show({ used, size, isTrimmed }) {
        this.#gauge.hidden = used === 0 || size === 0;
        if (this.#gauge.hidden) return;
        const share = Math.min(1, used / size);
        const text = t('gauge', { used: Math.min(used, size), count: size });
        this.#ring.style.strokeDasharray = `${share * CIRCUMFERENCE} ${CIRCUMFERENCE}`;
        this.#gauge.classList.toggle('nearly-full', isTrimmed || share >= NEARLY_FULL);
        this.#gauge.title = t(isTrimmed ? 'gaugeTrimmed' : 'gaugeHelp');
        if (this.#text.textContent !== text) this.#text.textContent = text;
    }
}

/** Returns what the gauge shows of a conversation: {used, isTrimmed, readsFrom}. */
export function usageOf(conversation) {
    const answers = conversation.path().filter(({ role }) => role === 'assistant');
    const counted = answers.findLast(({ stats }) => stats?.used > 0);
    const readsFrom = answers.findLast(({ readsFrom: id }) => id !== undefined)?.readsFrom ?? null;
    return { used: counted?.stats.used ?? 0, isTrimmed: readsFrom !== null, readsFrom };
}

/** Returns the line before the first message that the model still reads. */
export function readsFromLine() {
    return element('p', 'reads-from', element('span', '', t('readsFrom')));
}

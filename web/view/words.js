// Progress, errors and states in words.

import { language, number, t } from '../base/i18n.js';
import { ApiError } from '../connection/api.js';

const STAGES = ['downloading', 'packing', 'reading', 'measuring']; // the others are short

export function describeError(error) {
    if (!(error instanceof ApiError)) return t('errorServer', { message: String(error) });
    if (error.code === 'unreachable') return t('errorUnreachable');
    if (error.code === 'interrupted') return t('errorInterrupted');
    if (error.code === 'context_length_exceeded') return t('errorContext');
    if (error.status === 401) return t('errorKey');
    if (error.status === 503) return t('errorLoading');
    if (error.message !== '') return t('errorServer', { message: error.message });
    return t('errorStatus', { status: String(error.status) });
}

export function describeLoading({ stage, percent }) {
    const text = t(STAGES.includes(stage) ? stage : 'loading');
    return percent === undefined ? text : t('loadingShare', { stage: text, percent });
}

/** Describes the state "loading" of the server at length. */
export function describeStart({ bytes, isFirstStart, ...loading }) {
    const text = [describeLoading(loading)];
    if (bytes) {
        const total = new Intl.NumberFormat(language(), {
            style: 'unit', unit: 'megabyte', maximumFractionDigits: 0,
        });
        text.push(`${number(bytes.done / 1e6)} / ${total.format(bytes.total / 1e6)}`);
    }
    return t(isFirstStart ? 'lineFirstStart' : 'lineLoading', { text: text.join(' · ') });
}

/** Describes the progress before the first text, or without any (see answering/answering.js). */
export function describeProgress({ stage, place, seconds, percent, isLost, busySeconds }) {
    if (isLost) return t('lost');
    if (busySeconds !== undefined) return t('busyAgain', { seconds: busySeconds });
    if (stage !== undefined) return describeLoading({ stage, percent });
    if (percent !== undefined) return t('prefill', { percent });
    return seconds > 0 ? t('queueSeconds', { place, seconds }) : t('queue', { place });
}

/** Describes an answer that is being written; its first token says nothing yet. */
export function describeFigures({ tokens, seconds, rate }) {
    if (tokens < 2) return '';
    const facts = [t('tokens', { count: tokens }), t('seconds', { seconds })];
    if (rate > 0) facts.unshift(t('rate', { count: rate }, 1));
    return facts.join(' · ');
}

/** Describes what an answer took: a list of facts. */
export function describeStats({ tokens, firstText, rate, prompt, cached, drafted, accepted } = {}) {
    const facts = [];
    if (rate > 0) facts.push(t('rate', { count: rate }, 1));
    if (firstText > 0) facts.push(t('firstText', { seconds: firstText }, 2));
    if (tokens > 0) facts.push(t('tokens', { count: tokens }));
    if (cached > 0 && prompt > 0) {
        facts.push(t('cached', { percent: 100 * Math.min(1, cached / prompt) }));
    }
    if (drafted > 0) facts.push(t('drafted', { accepted, drafted }));
    return facts;
}

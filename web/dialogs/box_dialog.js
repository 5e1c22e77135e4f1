// The dialog "This box": what the server is, what it does now, and how other programs reach it.

import { copyButton } from '../base/copy.js';
import { byId, element } from '../base/dom.js';
import { language, number, t } from '../base/i18n.js';
import { currentKey, setKey } from '../connection/key.js';
import { describeLoading } from '../view/words.js';
import { openDialog } from './dialog.js';

const REFRESH_MS = 2000;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

const size = (bytes) => (bytes < GIB
    ? t('mebibytes', { size: bytes / MIB }) : t('gibibytes', { size: bytes / GIB }, 1));

/** Returns a time span in its two largest units. */
function duration(seconds) {
    const unit = (count, name) => new Intl.NumberFormat(language(), {
        style: 'unit', unit: name, unitDisplay: 'short', maximumFractionDigits: 0,
    }).format(count);
    const minutes = Math.floor(seconds / 60);
    if (minutes < 1) return unit(Math.floor(seconds), 'second');
    if (minutes < 60) return unit(minutes, 'minute');
    const hours = Math.floor(minutes / 60);
    if (hours < 24) return `${unit(hours, 'hour')} ${unit(minutes % 60, 'minute')}`;
    return `${unit(Math.floor(hours / 24), 'day')} ${unit(hours % 24, 'hour')}`;
}

/** Returns pairs of the name of a text and a value. */
function factsOf({ health, ...state }) {
    if (!health) {
        const now = state.name === 'loading' ? describeLoading(state) : t('boxSilent');
        return [['boxNow', now]];
    }
    const facts = [
        ['boxModel', health.model],
        ['boxContext', t('tokens', { count: health.ctx_size })],
        ['boxNow', t('boxRunning', {
            running: health.running, parallel: health.parallel, waiting: health.queued,
        })],
        ['boxMemory', t('boxMemoryOf', {
            used: size(health.resident_bytes), total: size(health.memory_total_bytes),
            percent: health.memory_percent,
        })],
        ['boxAnswers', t('boxAnswersSince', {
            answers: health.requests_finished, time: duration(health.uptime_seconds),
        })],
        ['boxVersion', `kinglet ${health.version}`],
    ];
    const { decode_tokens_per_second: decode, prefill_tokens_per_second: prefill } = health;
    if (decode > 0) {
        facts.splice(3, 0, ['boxSpeed', t('boxSpeeds', {
            count: decode, prefill: number(prefill),
        }, 1)]);
    }
    return facts;
}

export class BoxDialog {
    #server;
    #shown = '';

    /** `server`: a ServerState. */
    constructor({ server }) {
        this.#server = server;
        const copied = (code, label) => code.after(copyButton(() => code.textContent, { label }));
        copied(byId('box-address'), t('copyAddress'));
        copied(byId('box-curl'), t('copyCommand'));
        byId('forget-key').addEventListener('click', () => {
            setKey('');
            byId('box').close();
            server.probeAgain();
        });
    }

    open() {
        const update = () => this.#update();
        const timer = setInterval(() => this.#server.probe(), REFRESH_MS);
        this.#server.addEventListener('change', update);
        update();
        this.#server.probe();
        openDialog(byId('box'), {
            accept: () => {},
            close: () => {
                clearInterval(timer);
                this.#server.removeEventListener('change', update);
            },
        });
    }

    #update() {
        const address = new URL('v1', location.href.replace(/[?#].*/, '')).href;
        const key = currentKey() === '' ? '' : ' -H "Authorization: Bearer $KINGLET_KEY"';
        const body = JSON.stringify({ messages: [{ role: 'user', content: t('boxHello') }] });
        byId('box-address').textContent = address;
        byId('box-curl').textContent = `curl ${address}/chat/completions${key} -d '${body}'`;
        byId('forget-key').hidden = key === '';
        const facts = factsOf(this.#server.state);
        const shown = JSON.stringify(facts);
        if (shown === this.#shown) return; // a text that is selected stays selected
        this.#shown = shown;
        byId('box-facts').replaceChildren(...facts
            .flatMap(([name, value]) => [element('dt', '', t(name)), element('dd', '', value)]));
    }
}

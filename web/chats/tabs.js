// Messages between the tabs of this browser, about chats.
//
// saved    {chat, changes, messages}: see conversation.js
// removed  {id}: a chat is gone for ever
// stop     {id}: the answer of a chat shall be stopped, by the tab that writes it
// asked    {name, id, question}: whether the tab writes that answer, or shows that chat; it replies with
//          `yes` {question}, or not at all

import { newId } from '../base/dom.js';

const NAME = 'kinglet';
const REPLY_MS = { writes: 700, shows: 250 }; // a tab in the background replies a little later

export class Tabs extends EventTarget {
    #channel = null;
    #questions = new Map(); // ID -> what a yes does

    /** `answers`: {writes(messageId), shows(chatId)}: whether this tab does so. */
    constructor(answers) {
        super();
        if (!('BroadcastChannel' in globalThis)) return;
        this.#channel = new BroadcastChannel(NAME);
        this.#channel.onmessage = ({ data }) => {
            const { type, ...detail } = data;
            const { name, id, question } = detail;
            if (type === 'yes') this.#questions.get(question)?.();
            else if (type !== 'asked') this.dispatchEvent(new CustomEvent(type, { detail }));
            else if (answers[name](id)) this.post('yes', { question });
        };
    }

    post(type, detail) {
        this.#channel?.postMessage({ type, ...detail });
    }

    /** Returns whether another tab says so: `name` is "writes" or "shows". */
    async ask(name, id) {
        if (this.#channel === null) return false;
        const question = newId();
        const isSo = await new Promise((resolve) => {
            this.#questions.set(question, () => resolve(true));
            setTimeout(resolve, REPLY_MS[name], false);
            this.post('asked', { name, id, question });
        });
        this.#questions.delete(question);
        return isSo;
    }
}

// The conversation on the page: a view for each message of the path that is shown.

import { byId, element as newElement } from '../base/dom.js';
import { MessageTools } from './editor.js';
import { readsFromLine } from './gauge.js';
import { AnswerView, QuestionView } from './message_views.js';

const FLASH_MS = 1600;
// Messages that are made at a time: a long chat opens with its end
const FIRST = 3;
// The browser asks each element of a long chat in each frame whether it is in view: it gets few of them,
// of this many messages each, which are also made at a time.
const GROUP = 8;

export class Log {
    #log = byId('log');
    #scroller;
    #actions;
    #views = new Map(); // message ID -> {view, tools}
    #conversation = null;
    #most = FIRST; // messages of the path that are shown, the newest ones
    #timer = 0;
    #readsFrom = null; // the ID of the first message that the model still reads
    #line = null; // before it

    /**
     * `actions`: {onAgain(answer), onContinue(answer), onAnswer(question), onEdit(message, text),
     * isBusy(conversation)}: the last one tells whether an answer is being written.
     */
    constructor({ scroller, ...actions }) {
        this.#scroller = scroller;
        this.#actions = actions;
    }

    /** Shows another conversation. */
    open(conversation) {
        this.#conversation = conversation;
        this.#views.clear();
        this.#log.replaceChildren();
        this.#most = FIRST;
        this.update();
        this.#scroller.toEnd();
        this.#showMoreSoon();
    }

    /** Shows all messages of the path, now. */
    showAll() {
        if (this.#most === Infinity) return;
        clearTimeout(this.#timer);
        this.#most = Infinity;
        this.update();
    }

    #showMoreSoon() {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
            this.#most += GROUP;
            if (this.#most >= this.#conversation.path().length) {
                this.showAll();
                return;
            }
            this.update();
            this.#showMoreSoon();
        });
    }

    /** Shows the path of the conversation as it is now; views of messages that stay are kept. */
    update() {
        this.#line?.remove();
        const whole = this.#conversation.path();
        const path = whole.slice(-this.#most);
        const isBusy = this.#actions.isBusy(this.#conversation);
        const shown = new Set(path.map(({ id }) => id));
        for (const [id, { view }] of this.#views) {
            if (shown.has(id)) continue;
            view.element.remove();
            this.#views.delete(id);
        }
        path.forEach((message, i) => {
            const { view, tools } = this.#viewOf(message);
            this.#place(view.element, whole.length - path.length + i, path[i - 1]);
            tools.update({
                versions: this.#conversation.versions(message), isBusy,
                isLast: message === path.at(-1),
            });
        });
        for (const group of [...this.#log.children]) if (!group.hasChildNodes()) group.remove();
        this.#placeLine();
    }

    /** Puts an element at its place in the path, behind that of the message `previous`. */
    #place(element, index, previous) {
        const name = String(Math.floor(index / GROUP));
        const before = previous && this.#views.get(previous.id).view.element;
        let group = before?.parentNode;
        if (group?.dataset.name !== name) {
            const next = group ? group.nextSibling : this.#log.firstChild;
            group = next?.dataset.name === name ? next : this.#newGroup(name, next);
        }
        const place = before?.parentNode === group ? before.nextSibling : group.firstChild;
        if (element !== place) group.insertBefore(element, place);
    }

    #newGroup(name, next) {
        const group = newElement('div', 'group');
        group.dataset.name = name;
        return this.#log.insertBefore(group, next);
    }

    /** Shows from which message on the model still reads; null: it reads all. */
    showReadsFrom(id) {
        if (id === this.#readsFrom && (id === null || this.#line?.isConnected)) return;
        this.#readsFrom = id;
        this.#placeLine();
    }

    #placeLine() {
        const view = this.#views.get(this.#readsFrom)?.view;
        if (view) {
            this.#line ??= readsFromLine();
            view.element.before(this.#line);
        } else {
            this.#line?.remove();
        }
    }

    /** Returns the view of a message, undefined if it is not shown. */
    view(message) {
        return this.#views.get(message.id)?.view;
    }

    /** Scrolls to a message and marks it for a moment. */
    find(message) {
        this.showAll();
        const view = this.view(message);
        if (!view) return;
        view.element.scrollIntoView({ block: 'center' });
        view.element.classList.add('found');
        setTimeout(() => view.element.classList.remove('found'), FLASH_MS);
    }

    #viewOf(message) {
        const known = this.#views.get(message.id);
        if (known) return known;
        const { onAgain, onContinue, onAnswer, onEdit } = this.#actions;
        const tools = new MessageTools(message, {
            onAnswer, onEdit,
            onVersion: (other, direction) => {
                this.#conversation.select(other);
                this.#views.get(other.id)?.tools.focus(direction);
            },
        });
        const view = message.role === 'user' ? new QuestionView(message, tools.element)
            : new AnswerView(message, {
                onAgain: () => onAgain(message),
                onContinue: () => onContinue(message),
                onGrown: () => this.#scroller.follow(),
            }, tools.element);
        tools.attach(view);
        const made = { view, tools };
        this.#views.set(message.id, made);
        return made;
    }
}

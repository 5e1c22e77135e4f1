// One chat: its messages as a tree, of which one path is shown, and their way to the database.
//
// Events: "change" with detail {message} or {} (the chat itself, or the path); `isRemote` is true in
// both if another tab or device made the change. "saved" with detail {chat, changes, messages}: what
// was written (`chat`: the whole, if it is new). "unsaved" with detail {error}: the browser did not store
// it, for instance because its disk is full; it is tried again with the next change.

import { newId } from '../base/dom.js';
import { filesOf } from '../answering/files.js';
import { keyScope } from './owner.js';
import { titleOf } from './title.js';

const SAVE_MS = 1000; // a growing answer and a draft are saved that often, all else at once

export class Conversation extends EventTarget {
    chat;
    #database;
    #messages = new Map();
    #children = new Map(); // of each parent, the oldest first
    #unsaved = new Set();
    #changes = null; // the fields of the chat that are not saved yet
    #isStored;
    #timer = 0;
    #unsavedSince = 0;

    /** `messages`: those of the database, if the chat is stored there. */
    constructor(database, chat, messages = [], isStored = true) {
        super();
        this.#database = database;
        this.#isStored = isStored;
        this.chat = chat;
        for (const message of messages.sort((a, b) => a.created - b.created)) this.#insert(message);
        if (!this.#messages.has(chat.current)) chat.current = messages.at(-1)?.id ?? null;
    }

    static create(database, fields = {}) {
        const now = Date.now();
        return new Conversation(database, {
            id: newId(), title: '', created: now, changed: now, pinned: false, draft: '',
            settings: {}, current: null, ...fields,
        }, [], false);
    }

    get id() {
        return this.chat.id;
    }

    get isEmpty() {
        return this.#messages.size === 0;
    }

    message(id) {
        return this.#messages.get(id);
    }

    messages() {
        return [...this.#messages.values()];
    }

    /** Returns the messages that are shown, the first one first. */
    path(end = this.chat.current) {
        const path = [];
        // bounded: parents from elsewhere may lead in a circle
        const parentOf = ({ parent }) => (path.length < this.#messages.size
            ? this.#messages.get(parent) : undefined);
        for (let m = this.#messages.get(end); m; m = parentOf(m)) path.push(m);
        return path.reverse();
    }

    /** Returns a message and its other versions, the oldest first. */
    versions(message) {
        return this.#children.get(message.parent).filter(({ role }) => role === message.role);
    }

    /** Adds a message behind `parent`, and shows it. */
    add({ parent = this.chat.current, ...fields }) {
        const message = {
            id: newId(), chat: this.id, parent, created: Date.now(), content: '', ...fields,
        };
        const head = { current: message.id, changed: message.created };
        if (this.isEmpty) head.owner = keyScope();
        this.#insert(message);
        if (this.chat.title === '' && message.role === 'user') {
            head.title = titleOf(message.content) || titleOf(filesOf(message)[0]?.name ?? '');
        }
        this.change(message);
        this.changeChat(head);
        return message;
    }

    /** Changes fields of a message. */
    change(message, fields = {}) {
        // later than before, whatever the clock says: the newer state of a message wins
        const changed = Math.max(Date.now(), (message.changed ?? 0) + 1);
        Object.assign(message, fields, { changed, unsent: true });
        this.#unsaved.add(message);
        this.#saveSoon(message.state === 'writing');
        this.#tell({ message });
    }

    /**
     * Notes that nothing seems to write an answer any more. If its writer goes on after all, its text is
     * the newer one.
     */
    interrupt(message) {
        const { changed } = message;
        this.change(message, { state: 'interrupted' });
        message.changed = changed + 1;
    }

    /** Changes fields of the chat. */
    changeChat(fields) {
        Object.assign(this.chat, fields);
        this.#changes = { ...this.#changes, ...fields };
        this.#saveSoon('draft' in fields);
        this.#tell({});
    }

    /** Shows a version, to the end of the newest messages behind it. */
    select(message) {
        let end = message;
        let left = this.#messages.size;
        for (let next = end; next && left >= 0; next = this.#children.get(end.id)?.at(-1)) {
            end = next;
            left--;
        }
        this.changeChat({ current: end.id });
    }

    /** Shows the path to a message and beyond, if it is not shown yet. */
    reveal(message) {
        if (!this.path().includes(message)) this.select(message);
    }

    /**
     * Takes over what another tab or device wrote: fields of the chat, and messages where they are newer
     * than ours. While an answer is written here (`isRunning`) it is taken from nowhere else, and what
     * is shown stays. Returns the messages that were newer.
     */
    merge({ changes = {}, messages = [], isRunning = false }) {
        const { current, draft, draftFiles, ...fields } = changes;
        const taken = messages.filter((message) => this.#take(message, isRunning));
        Object.assign(this.chat, fields);
        if (!isRunning && this.#messages.has(current)) this.chat.current = current;
        if (!this.#messages.has(this.chat.current)) {
            this.chat.current = this.messages().at(-1)?.id ?? null;
        }
        this.#isStored = true;
        for (const { id } of taken) this.#tell({ message: this.#messages.get(id), isRemote: true });
        this.#tell({ isRemote: true });
        return taken;
    }

    /** Notes that the server has these messages as they were then. */
    sent(messages) {
        for (const { id, changed } of messages) {
            const message = this.#messages.get(id);
            if (message?.changed === changed) message.unsent = false;
        }
    }

    /**
     * Saves now all that is not saved yet. An empty chat is stored only for its draft, or because it is
     * private, which it has to be after a reload, too.
     */
    async flush() {
        clearTimeout(this.#timer);
        this.#timer = 0;
        const hasDraft = this.chat.draft !== '' || this.chat.draftFiles?.length > 0;
        if (this.isEmpty && !this.#isStored && !hasDraft && !this.chat.isPrivate) return;
        if (this.#unsaved.size === 0 && this.#changes === null) return;
        const messages = [...this.#unsaved];
        const changes = { id: this.id, ...this.#changes };
        const chat = this.#isStored ? null : this.chat;
        this.#unsaved.clear();
        this.#changes = null;
        this.#isStored = true;
        try {
            await this.#database.save(chat ? { chats: [chat], messages }
                : { changes: [changes], messages });
        } catch (error) {
            for (const message of messages) this.#unsaved.add(message);
            this.#changes = { ...changes, ...this.#changes };
            this.#isStored = chat === null;
            this.dispatchEvent(new CustomEvent('unsaved', { detail: { error } }));
            return;
        }
        this.dispatchEvent(new CustomEvent('saved', { detail: { chat, changes, messages } }));
    }

    #take(message, isRunning) {
        const own = this.#messages.get(message.id);
        if (own && own.changed >= message.changed) return false;
        if (isRunning && own?.state === 'writing') return false;
        if (own) Object.assign(own, message);
        else this.#insert({ ...message, chat: this.id });
        return true;
    }

    #insert(message) {
        this.#messages.set(message.id, message);
        const siblings = this.#children.get(message.parent) ?? [];
        let place = siblings.length;
        while (place > 0 && siblings[place - 1].created > message.created) place--;
        siblings.splice(place, 0, message);
        this.#children.set(message.parent, siblings);
    }

    #tell(detail) {
        this.dispatchEvent(new CustomEvent('change', { detail }));
    }

    #saveSoon(isGrowing) {
        const now = performance.now();
        if (!isGrowing) {
            queueMicrotask(() => this.flush()); // when the caller has made all its changes
        } else if (this.#timer === 0) {
            this.#unsavedSince = now;
            this.#timer = setTimeout(() => this.flush(), SAVE_MS);
        } else if (now - this.#unsavedSince > SAVE_MS) {
            this.flush(); // the timers of a hidden page are late, by up to a minute
        }
    }
}

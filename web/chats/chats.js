// All chats of this browser, the same in all its tabs.
//
// Events: "change": the list of chats. "saved" with detail {id}: this tab changed a chat. "deleted" and "restored" with detail {chat}: by this tab or
// another. "unsaved": the browser does not store anything more.

import { Conversation } from './conversation.js';
import { ownerOf } from './owner.js';
import { Tabs } from './tabs.js';

export const UNDO_MS = 8000;
const REMOVE_MS = UNDO_MS + 2000; // a tab that undoes is never too late
const AFAR_MS = 45000; // another device is thought to write as long after its last piece
const MAX_OPEN = 12; // conversations that are kept in memory

export class Chats extends EventTarget {
    tabs;
    shownId = ''; // of the chat that is shown: it stays in memory
    /** Called before a chat is removed for ever; a promise of false: it has to be kept for now. */
    beforeRemove = async () => true;
    #database;
    #heads = new Map(); // ID -> chat, without its messages
    #open = new Map(); // ID -> Conversation, the one used last at the end
    #writing = new Map(); // message ID -> chat ID, of answers that other tabs write
    #foreign = new Map(); // message ID -> when another device was last seen to write it
    #unseen = new Set(); // IDs of chats with an answer that the user has not seen
    #answering;

    /** `answering`: tells which conversations have a running answer, and stops it. */
    constructor(database, answering) {
        super();
        this.#database = database;
        this.#answering = answering;
        this.tabs = new Tabs({
            writes: (id) => this.#isWriting(id) || this.#isForeign(id),
            shows: (id) => id === this.shownId,
        });
        answering.addEventListener('change', () => this.#tell('change'));
        this.tabs.addEventListener('saved', ({ detail }) => this.#takeSaved(detail));
        this.tabs.addEventListener('sent', ({ detail: { id, sync, owner, messages } }) => {
            this.#open.get(id)?.sent(messages);
            if (this.#heads.has(id)) Object.assign(this.#heads.get(id), { sync, owner });
        });
        this.tabs.addEventListener('removed', ({ detail }) => this.#forget(detail.id));
        this.tabs.addEventListener('stop', ({ detail }) => {
            const conversation = this.#open.get(detail.id);
            if (conversation) answering.stop(conversation);
        });
    }

    get isLasting() {
        return this.#database.isLasting;
    }

    /** Tells that the browser did not store a change. */
    tellUnsaved() {
        this.#tell('unsaved');
    }

    /** Reads the list. Chats that were deleted when the page was closed are removed. */
    async load() {
        for (const chat of await this.#database.chats()) this.#heads.set(chat.id, chat);
        this.removeDeleted();
        this.#tell('change');
    }

    /** Removes the chats that are deleted, when it is time; those that had to be kept are tried again. */
    removeDeleted() {
        for (const { id, deleted } of this.#heads.values()) if (deleted) this.#removeLater(id);
    }

    /** Returns the chats that have messages, the latest first. */
    list() {
        return [...this.#heads.values()]
            .filter(({ current, deleted }) => current !== null && !deleted)
            .sort((a, b) => b.changed - a.changed);
    }

    /** Returns all chats, in no order. */
    all() {
        return [...this.#heads.values()].filter(({ deleted }) => !deleted);
    }

    /** Returns the IDs of chats with messages that the server does not have. */
    async unsent() {
        const found = new Set();
        for await (const messages of this.#database.allMessages()) {
            for (const { chat, unsent } of messages) if (unsent) found.add(chat);
        }
        return found;
    }

    /** Returns a chat without its messages; undefined if there is none. */
    chat(id) {
        return this.#heads.get(id);
    }

    /** Whether an answer of the chat is being written, by this tab or another. */
    isRunning(id) {
        const conversation = this.#open.get(id);
        if (conversation && this.#answering.isRunning(conversation)) return true;
        if (conversation && this.isWrittenAfar(conversation)) return true;
        return [...this.#writing.values()].includes(id);
    }

    /** Whether an answer was finished while another chat was shown. */
    isUnseen(id) {
        return this.#unseen.has(id);
    }

    setUnseen(id, isUnseen) {
        if (isUnseen) this.#unseen.add(id);
        else this.#unseen.delete(id);
        this.#tell('change');
    }

    /** Opens a chat; null if there is none, or it is deleted. */
    async open(id) {
        const known = this.#open.get(id);
        if (known) return known.chat.deleted ? null : this.#keep(known);
        const [chat, messages] = await Promise.all([
            this.#database.chat(id), this.#database.messages(id),
        ]);
        if (!chat || chat.deleted) return null;
        return this.#open.get(id) ?? this.#keep(new Conversation(this.#database, chat, messages));
    }

    /** Returns the chat that has no messages yet, but perhaps a draft. */
    async openEmpty() {
        for (const conversation of this.#open.values()) {
            if (conversation.isEmpty && !conversation.chat.deleted) return this.#keep(conversation);
        }
        for (const { id, current, deleted } of [...this.#heads.values()]) {
            if (current !== null || deleted || await this.tabs.ask('shows', id)) continue;
            const empty = await this.open(id);
            if (empty?.isEmpty) return empty;
        }
        return this.create();
    }

    create(fields = {}) {
        return this.#keep(Conversation.create(this.#database, fields));
    }

    /** Adds whole chats: [{chat, messages}]. Those that are there already are merged. */
    async add(chats) {
        for (const { chat, messages } of chats) {
            const known = await this.open(chat.id);
            if (known) {
                await this.take(known, { changes: {}, messages });
            } else {
                await this.#database.save({ chats: [chat], messages });
                this.#heads.set(chat.id, chat);
                this.tabs.post('saved', { chat, changes: { id: chat.id }, messages });
            }
            if (!chat.sync) this.#tell('saved', { id: chat.id });
        }
        this.#tell('change');
    }

    /** Changes fields of a chat: its title, whether it is pinned, ... */
    async change(id, fields) {
        const conversation = this.#open.get(id);
        if (conversation) {
            conversation.changeChat(fields);
            await conversation.flush();
        } else if (this.#heads.has(id)) {
            Object.assign(this.#heads.get(id), fields);
            const changes = { id, ...fields };
            await this.#database.save({ changes: [changes] });
            this.#tellSaved({ chat: null, changes, messages: [] });
        }
        this.#tell('change');
    }

    /** Deletes a chat. It can be restored for UNDO_MS; its answer goes on until then. */
    async delete(id) {
        await this.change(id, { deleted: Date.now() });
        this.#tell('deleted', { chat: this.#heads.get(id) });
        this.#removeLater(id);
    }

    async restore(id) {
        await this.change(id, { deleted: 0 });
        this.#tell('restored', { chat: this.#heads.get(id) });
    }

    /** Takes over what another device changed: see Conversation.merge. */
    async take(conversation, { changes, messages }) {
        const isRunning = this.#answering.isRunning(conversation);
        const taken = conversation.merge({ changes, messages, isRunning })
            .map(({ id }) => conversation.message(id));
        const fields = { ...changes, id: conversation.id, current: conversation.chat.current };
        await this.#database.save({ changes: [fields], messages: taken });
        this.tabs.post('saved', { chat: null, changes: fields, messages: taken });
        const now = performance.now();
        for (const { id, state } of taken) {
            if (state === 'writing') this.#foreign.set(id, now);
            else this.#foreign.delete(id);
        }
        this.#tell('change');
    }

    /** Notes what the server has of a chat, and which messages as they were then. */
    async noteSync(conversation, sync, messages = []) {
        const { id } = conversation;
        const owner = sync?.scope ?? ownerOf(conversation.chat);
        Object.assign(conversation.chat, { sync, owner });
        conversation.sent(messages);
        await this.#database.save({ changes: [{ id, sync, owner }] });
        await this.#database.sent(messages);
        this.tabs.post('sent', { id, sync, owner, messages });
    }

    /** Whether another device writes an answer of the conversation. */
    isWrittenAfar(conversation) {
        return conversation.messages()
            .some(({ id, state }) => state === 'writing' && this.#isForeign(id));
    }

    /** Stops the answer of a conversation, whichever tab writes it. */
    stop(conversation) {
        if (this.#answering.isRunning(conversation)) this.#answering.stop(conversation);
        else this.tabs.post('stop', { id: conversation.id });
    }

    /**
     * Returns the unfinished answers of a conversation that this tab has to read on in: those that no tab
     * writes any more, and those that another device has the server write.
     */
    async orphans(conversation) {
        const found = [];
        for (const message of conversation.messages()) {
            if (message.state !== 'writing' || this.#isWriting(message.id)) continue;
            if (this.#isForeign(message.id) && !message.answerId) continue;
            if (await this.tabs.ask('writes', message.id)) {
                this.#writing.set(message.id, conversation.id);
                continue;
            }
            this.#writing.delete(message.id);
            if (message.state === 'writing' && !this.#isWriting(message.id)) found.push(message);
        }
        this.#tell('change');
        return found;
    }

    #keep(conversation) {
        const { id } = conversation;
        if (!this.#open.has(id)) {
            this.#heads.set(id, conversation.chat);
            conversation.addEventListener('change', ({ detail }) => {
                if (!detail.message) this.#tell('change');
            });
            conversation.addEventListener('saved', ({ detail }) => this.#tellSaved(detail));
            conversation.addEventListener('unsaved', () => this.tellUnsaved());
        }
        this.#open.delete(id);
        this.#open.set(id, conversation);
        for (const old of [...this.#open.values()].slice(0, -MAX_OPEN)) {
            if (this.#answering.isRunning(old) || old.id === this.shownId) continue;
            old.flush();
            this.#open.delete(old.id);
        }
        return conversation;
    }

    #tellSaved(detail) {
        this.tabs.post('saved', detail);
        this.#tell('saved', { id: detail.changes.id });
    }

    #isForeign(messageId) {
        return performance.now() - (this.#foreign.get(messageId) ?? -Infinity) < AFAR_MS;
    }

    #isWriting(messageId) {
        return [...this.#open.values()].some((conversation) => (
            conversation.message(messageId)?.state === 'writing'
            && this.#answering.isRunning(conversation)));
    }

    /** Takes over what another tab saved. */
    async #takeSaved({ chat, changes, messages }) {
        const id = chat?.id ?? changes.id;
        for (const message of messages) {
            if (message.state === 'writing') this.#writing.set(message.id, id);
            else this.#writing.delete(message.id);
        }
        const before = this.#heads.get(id)?.deleted ?? 0;
        const conversation = this.#open.get(id);
        if (conversation) {
            const isRunning = this.#answering.isRunning(conversation);
            conversation.merge({ changes: chat ?? changes, messages, isRunning });
        } else if (this.#heads.has(id)) {
            Object.assign(this.#heads.get(id), chat ?? changes);
        } else {
            const stored = await this.#database.chat(id);
            if (stored) this.#heads.set(id, stored);
        }
        const head = this.#heads.get(id);
        if (head && Boolean(head.deleted) !== Boolean(before)) {
            this.#tell(head.deleted ? 'deleted' : 'restored', { chat: head });
            if (head.deleted) this.#removeLater(id);
        }
        this.#tell('change');
    }

    #removeLater(id) {
        const { deleted } = this.#heads.get(id);
        setTimeout(async () => {
            if (this.#heads.get(id)?.deleted !== deleted) return;
            const conversation = this.#open.get(id);
            if (conversation) this.#answering.stop(conversation);
            // a server that cannot be told now is told at the next visit
            if (!await this.beforeRemove(this.#heads.get(id))) return;
            this.#forget(id);
            try {
                await this.#database.remove(id);
            } catch {
                return; // the next visit finds it, still deleted
            }
            this.tabs.post('removed', { id });
        }, Math.max(deleted + REMOVE_MS - Date.now(), 0));
    }

    #forget(id) {
        this.#heads.delete(id);
        this.#open.delete(id);
        for (const [message, chat] of this.#writing) {
            if (chat === id) this.#writing.delete(message);
        }
        this.#tell('change');
    }

    #tell(type, detail = {}) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }
}

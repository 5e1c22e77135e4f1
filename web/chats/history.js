// The chats on the server, if it keeps any (--history): the same on all devices that use the same key.
//
// Each chat is compared by its ETag: what others changed is read and merged, message by message, and
// what the server does not have yet is sent under the condition that nothing has changed meanwhile
// (If-Match); otherwise it is read and merged again. A chat's `sync` says what the server has:
// {etag, scope, head}, with the scope of the key and the head (as JSON) at that time. Chats of another key
// are neither sent nor removed (owner.js), but those that the server lists for this one, too, are its own: the
// key was replaced. A chat is removed here if the server says that it was deleted; one that the server has
// not, because its disk was lost or an older state of it came back, is sent again.
//
// Events: "change": `state` has changed.

import { ApiError, accessHeaders, failure } from '../connection/api.js';
import { keyChanges } from '../connection/key.js';
import { soundMessage } from './checked.js';
import { isOfOtherKey, keyScope } from './owner.js';

const PUSH_MS = 3000; // after a change
const PULL_MS = 20000; // while the page is visible
const PULL_GROWING_MS = 4000; // while another device writes in the chat that is shown
const MAX_TRIES = 5;
const MAX_BODY = 200_000; // characters of messages in one request
const HEAD = ['title', 'created', 'changed', 'pinned', 'settings', 'current'];

/** Yields lists of messages that fit into one request each. */
function* batches(messages) {
    let batch = [];
    let size = 0;
    for (const message of messages) {
        if (batch.length > 0 && size + message.content.length > MAX_BODY) {
            yield batch;
            batch = [];
            size = 0;
        }
        batch.push(message);
        size += message.content.length;
    }
    if (batch.length > 0) yield batch;
}

export class History extends EventTarget {
    /** "unknown", "off", "on", "unreachable", "full". */
    state = 'unknown';
    #chats;
    #isGrowing;
    #scope = ''; // of the key of the work that runs
    #listed = null; // ID -> ETag, at the last pull
    #deleted = new Set(); // IDs of chats that the server was told to delete
    #isScanned = false; // for what an earlier visit did not send
    #listEtag = '';
    #changed = new Set(); // IDs of chats to send
    #refused = new Set(); // those that the server does not take: too large, a text that is no UTF-8
    #queue = Promise.resolve();
    #timer = 0;
    #pulling = 0;

    /** `isGrowing()`: whether another device writes in the chat that is shown. */
    constructor(chats, { isGrowing }) {
        super();
        this.#chats = chats;
        this.#isGrowing = isGrowing;
        chats.beforeRemove = (chat) => this.#forgetInTurn(chat);
        chats.addEventListener('saved', ({ detail }) => this.#pushSoon(detail.id));
        document.addEventListener('visibilitychange', () => {
            if (document.visibilityState === 'visible') this.pull();
            else this.#push();
        });
        addEventListener('online', () => this.pull());
        keyChanges.addEventListener('change', () => this.pull());
    }

    get isOn() {
        return !['unknown', 'off'].includes(this.state);
    }

    /** Reads what is new on the server, and sends what it does not have. */
    pull() {
        clearTimeout(this.#pulling);
        this.#pulling = setTimeout(() => {
            if (document.visibilityState === 'visible') this.pull();
        }, this.#isGrowing() ? PULL_GROWING_MS : PULL_MS);
        return this.#inTurn(() => this.#pull());
    }

    /** Keeps a chat of another key with the one in use from now on. */
    async adopt(id) {
        const conversation = await this.#chats.open(id);
        if (!conversation) return;
        await this.#chats.noteSync(conversation, null);
        await this.#chats.change(id, { owner: keyScope() });
    }

    #inTurn(work) {
        const run = async () => {
            if (this.state === 'off') return;
            this.#useKey();
            try {
                await work();
                if (this.state !== 'full') this.#set('on');
            } catch (error) {
                if (error.code === 'history_off') this.#set('off');
                else if (error.status === 507) this.#set('full');
                else if (error.status === 401) this.#lock();
                else if (error.code === 'other_key') this.pull();
                else if (error instanceof DOMException) this.#chats.tellUnsaved();
                else this.#set('unreachable');
            }
        };
        this.#queue = this.#queue.then(run);
        return this.#queue;
    }

    /** Forgets what is known of the chats of another key. */
    #useKey() {
        if (this.#scope === keyScope()) return;
        this.#scope = keyScope();
        this.#listed = null;
        this.#listEtag = '';
        this.#isScanned = false;
        this.#refused.clear();
        this.#chats.removeDeleted(); // those of this key were kept until now
        this.dispatchEvent(new Event('change'));
    }

    /** Fails if the key has changed since the work began: no part of it is done with another one. */
    async #request(path, method = 'GET', { body, headers = {} } = {}) {
        if (this.#scope !== keyScope()) throw new ApiError('another key', { code: 'other_key' });
        const json = body === undefined ? {} : { 'Content-Type': 'application/json' };
        const response = await fetch(`v1/chats${path}`, {
            method,
            headers: { ...accessHeaders(), ...json, ...headers },
            body: body === undefined ? undefined : JSON.stringify(body),
        });
        if (!response.ok && response.status !== 304) throw await failure(response);
        return response;
    }

    /** Waits for another key. */
    #lock() {
        clearTimeout(this.#pulling);
        this.#set('unknown');
    }

    #set(state) {
        if (this.state === state) return;
        this.state = state;
        this.dispatchEvent(new Event('change'));
    }

    #pushSoon(id) {
        this.#changed.add(id);
        if (this.#timer !== 0) return;
        this.#timer = setTimeout(() => this.#push(), PUSH_MS);
    }

    #push() {
        clearTimeout(this.#timer);
        this.#timer = 0;
        if (!this.isOn || this.#changed.size === 0) return;
        this.#inTurn(async () => {
            for (const id of [...this.#changed]) await this.#syncOwn(id);
        });
    }

    async #pull() {
        const response = await this.#request('', 'GET', {
            headers: this.#listEtag === '' ? {} : { 'If-None-Match': this.#listEtag },
        });
        if (response.status !== 304) {
            const { data, deleted = [] } = await response.json();
            this.#deleted = new Set(deleted);
            this.#listed = new Map(data.map(({ id, etag }) => [id, `"${etag}"`]));
            this.#listEtag = response.headers.get('ETag') ?? '';
        }
        if (!this.#isScanned) {
            for (const id of await this.#chats.unsent()) this.#changed.add(id);
            this.#isScanned = true;
        }
        for (const [id, etag] of this.#listed) {
            const chat = this.#chats.chat(id);
            if (!chat) await this.#receive(id);
            else await this.#syncListed(chat, etag);
        }
        for (const chat of this.#chats.all().filter(({ id }) => !this.#listed.has(id))) {
            if (chat.sync?.scope === this.#scope) await this.#resolveGone(chat);
            else await this.#syncOwn(chat.id);
        }
    }

    async #syncListed(chat, etag) {
        if (chat.sync && chat.sync.scope !== this.#scope && !chat.deleted) {
            const conversation = await this.#chats.open(chat.id);
            await this.#chats.noteSync(conversation, { ...chat.sync, scope: this.#scope });
        }
        if (chat.sync?.etag !== etag || this.#changed.has(chat.id)) await this.#sync(chat.id, etag);
    }

    async #resolveGone(chat) {
        const conversation = await this.#chats.open(chat.id);
        if (!conversation) return;
        const isChanged = conversation.messages().some(({ unsent }) => unsent)
            || JSON.stringify(headOf(chat)) !== chat.sync.head;
        const isKept = isChanged || this.#chats.isRunning(chat.id) || !this.#deleted.has(chat.id);
        await this.#chats.noteSync(conversation, null);
        if (isKept) await this.#sync(chat.id);
        else await this.#chats.delete(chat.id);
    }

    /** Sends what is new in a chat that the server does not list, unless it is that of another key. */
    async #syncOwn(id) {
        const chat = this.#chats.chat(id);
        if (!chat || isOfOtherKey(chat)) {
            this.#changed.delete(id);
            return;
        }
        // made without a key, also on a server that kept it
        if (chat.sync && chat.sync.scope !== this.#scope) {
            const conversation = await this.#chats.open(id);
            if (conversation) await this.#chats.noteSync(conversation, null);
        }
        await this.#sync(id);
    }

    /** Tells the server that a chat was deleted; false: it has to be told later. */
    async #forgetInTurn(chat) {
        let isForgotten = !chat.sync || this.state === 'off';
        if (isForgotten || isOfOtherKey(chat)) return isForgotten;
        await this.#inTurn(async () => {
            await this.#forget(chat);
            isForgotten = true;
        });
        return isForgotten;
    }

    async #forget({ id }) {
        await this.#request(`/${id}`, 'DELETE').catch((error) => {
            if (error.status !== 404) throw error;
        });
    }

    /** Gets a chat that is not here. */
    async #receive(id) {
        const { head, messages, etag } = await this.#get(id);
        const sync = this.#syncOf(head, etag);
        await this.#chats.add([{ chat: { ...head, id, draft: '', owner: this.#scope, sync }, messages }]);
    }

    async #get(id) {
        const response = await this.#request(`/${id}`);
        const { messages, ...head } = await response.json();
        return {
            head: headOf({ title: '', pinned: false, settings: {}, current: null, ...head }),
            messages: messages.map((message) => (
                { created: 0, changed: 0, ...soundMessage(message), chat: id, unsent: false })),
            etag: response.headers.get('ETag'),
        };
    }

    /** Makes a chat the same here and on the server; `listed`: its ETag there, if that is known. */
    async #sync(id, listed) {
        const chat = this.#chats.chat(id);
        if (!chat || chat.deleted || chat.current === null || this.#refused.has(id)) return;
        if (chat.isPrivate) {
            if (chat.sync) {
                await this.#forget(chat);
                await this.#chats.change(id, { sync: null });
            }
            return;
        }
        const conversation = await this.#chats.open(id);
        if (!conversation) return;
        await conversation.flush();
        let isStale = listed !== undefined && listed !== chat.sync?.etag;
        for (let tries = 0; tries < MAX_TRIES; tries++) {
            try {
                if (isStale) await this.#merge(conversation);
                await this.#send(conversation);
                break;
            } catch (error) {
                isStale = error.status === 412;
                const isDamaged = error.code === 'chat_damaged';
                if ([400, 413].includes(error.status) || (isDamaged && !chat.sync)) this.#refused.add(id);
                else if (isDamaged || error.code === 'chat_not_found') await this.#chats.noteSync(conversation, null);
                else if (!isStale) throw error;
            }
            if (this.#refused.has(id)) break;
        }
        this.#changed.delete(id);
    }

    /** Merges what the server has: messages by their ID, fields as they were changed last. */
    async #merge(conversation) {
        const { head, messages, etag } = await this.#get(conversation.id);
        const { chat } = conversation;
        const base = chat.sync ? JSON.parse(chat.sync.head) : null;
        const changes = { owner: this.#scope, sync: this.#syncOf(head, etag) };
        for (const name of HEAD) {
            const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);
            const isOurs = base === null ? chat.changed > head.changed : !isSame(chat[name], base[name]);
            if (!isOurs) changes[name] = head[name];
        }
        changes.changed = Math.max(chat.changed, head.changed);
        await this.#chats.take(conversation, { changes, messages });
    }

    /** Sends what the server does not have, if it is in the state that we know. */
    async #send(conversation) {
        const { id, chat } = conversation;
        const isKnown = Boolean(chat.sync);
        const messages = conversation.messages().filter(({ unsent }) => unsent || !isKnown);
        let { etag, head } = chat.sync ?? {};
        const put = async (condition) => {
            const body = headOf(chat);
            head = JSON.stringify(body);
            const response = await this.#request(`/${id}`, 'PUT', { body, headers: condition });
            etag = response.headers.get('ETag');
            await this.#chats.noteSync(conversation, { etag, scope: this.#scope, head });
        };
        if (!isKnown) await put({ 'If-None-Match': '*' });
        for (const batch of batches(messages)) {
            const sent = batch.map(({ id: message, changed }) => ({ id: message, changed }));
            const response = await this.#request(`/${id}/messages`, 'POST', {
                body: { messages: batch.map(({ chat: _, unsent, ...fields }) => fields) },
                headers: { 'If-Match': etag },
            });
            etag = response.headers.get('ETag');
            await this.#chats.noteSync(conversation, { ...chat.sync, etag }, sent);
        }
        if (JSON.stringify(headOf(chat)) !== head) await put({ 'If-Match': etag });
    }

    #syncOf(head, etag) {
        return { etag, scope: this.#scope, head: JSON.stringify(headOf(head)) };
    }
}

const headOf = (chat) => Object.fromEntries(HEAD.map((name) => [name, chat[name]]));

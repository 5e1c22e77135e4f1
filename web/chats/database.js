// The chats of this browser, in IndexedDB: a record for each chat and one for each message. Where the
// browser forbids it (some private windows), everything works, but is lost with the page.
//
// A chat:    { id, title, created, changed, pinned, draft, settings, current, ... }
//            `current`: the message at the end of what is shown, null: none. Times in milliseconds.
//            `deleted`: when the user deleted it; it is removed some seconds later (chats.js).
//            `isPrivate`: it stays in this browser. `sync`: what the server has of it (history.js).
//            `owner`: the key that it was made with (owner.js).
// A message: { id, chat, parent, role, content, created, changed, state, ... }
//            `parent`: the message before it, null: the first. Messages of the same parent are versions.
//            `state` of an answer: writing, complete, stopped, length, repetition, interrupted, failed.
//            `unsent`: the server does not have it yet as it is.
//
// Several tabs write at a time. A tab therefore writes only the fields of a chat that it changed, and
// never an older state of a message over a newer one.

const NAME = 'kinglet';
const VERSION = 1;
const BATCH = 200; // messages that a search has in memory

function promised(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
}

/** Opens the database. */
export async function openDatabase() {
    try {
        const request = indexedDB.open(NAME, VERSION);
        request.onupgradeneeded = () => {
            request.result.createObjectStore('chats', { keyPath: 'id' });
            const messages = request.result.createObjectStore('messages', { keyPath: 'id' });
            messages.createIndex('chat', 'chat');
        };
        return new StoredDatabase(await promised(request));
    } catch {
        return new MemoryDatabase();
    }
}

class StoredDatabase {
    isLasting = true;
    #db;

    constructor(db) {
        this.#db = db;
        // another tab has a newer version of the page: it must not wait for this one
        db.onversionchange = () => db.close();
    }

    chats() {
        return promised(this.#store('chats').getAll());
    }

    chat(id) {
        return promised(this.#store('chats').get(id));
    }

    messages(chatId) {
        return promised(this.#store('messages').index('chat').getAll(chatId));
    }

    /** Yields all messages of all chats in lists. */
    async* allMessages() {
        let range = null;
        for (;;) {
            const batch = await promised(this.#store('messages').getAll(range, BATCH));
            if (batch.length > 0) yield batch;
            if (batch.length < BATCH) return;
            range = IDBKeyRange.lowerBound(batch.at(-1).id, true);
        }
    }

    /**
     * Writes in one transaction, all or nothing: new `chats`, `changes` of chats (their ID and the
     * changed fields), and `messages`. Nothing is written for a chat that was removed meanwhile.
     */
    save({ chats = [], changes = [], messages = [] }) {
        return this.#change((stores) => {
            for (const chat of chats) stores.chats.put(chat);
            for (const change of changes) {
                read(stores.chats, change.id, (chat) => {
                    if (chat) stores.chats.put({ ...chat, ...change });
                });
            }
            for (const message of messages) {
                read(stores.chats, message.chat, (chat) => {
                    if (!chat) return;
                    read(stores.messages, message.id, (stored) => {
                        if (!isNewer(stored, message)) stores.messages.put(message);
                    });
                });
            }
        });
    }

    /** Notes that the server has these messages, as far as they are still as they were then. */
    sent(messages) {
        return this.#change((stores) => {
            for (const { id, changed } of messages) {
                read(stores.messages, id, (stored) => {
                    if (stored?.changed === changed) stores.messages.put({ ...stored, unsent: false });
                });
            }
        });
    }

    /** Removes a chat and its messages, if it is still deleted. */
    remove(chatId) {
        return this.#change((stores) => {
            read(stores.chats, chatId, (chat) => {
                if (!chat?.deleted) return;
                stores.chats.delete(chatId);
                const keys = stores.messages.index('chat').openKeyCursor(chatId);
                keys.onsuccess = () => {
                    if (keys.result === null) return;
                    stores.messages.delete(keys.result.primaryKey);
                    keys.result.continue();
                };
            });
        });
    }

    #store(name) {
        return this.#db.transaction(name, 'readonly').objectStore(name);
    }

    #change(write) {
        return new Promise((resolve, reject) => {
            const transaction = this.#db.transaction(['chats', 'messages'], 'readwrite');
            transaction.oncomplete = () => resolve();
            transaction.onabort = () => reject(transaction.error ?? new DOMException('aborted'));
            write({
                chats: transaction.objectStore('chats'),
                messages: transaction.objectStore('messages'),
            });
        });
    }
}

/** Calls `use` with a record, inside of its transaction. */
function read(store, key, use) {
    store.get(key).onsuccess = ({ target }) => use(target.result);
}

const isNewer = (stored, message) => stored !== undefined && stored.changed > message.changed;

class MemoryDatabase {
    isLasting = false;
    #chats = new Map();
    #messages = new Map();

    async chats() {
        return structuredClone([...this.#chats.values()]);
    }

    async chat(id) {
        return structuredClone(this.#chats.get(id));
    }

    async messages(chatId) {
        const found = [...this.#messages.values()].filter(({ chat }) => chat === chatId);
        return structuredClone(found);
    }

    async* allMessages() {
        yield [...this.#messages.values()];
    }

    async save({ chats = [], changes = [], messages = [] }) {
        for (const chat of chats) this.#chats.set(chat.id, structuredClone(chat));
        for (const change of changes) {
            const chat = this.#chats.get(change.id);
            if (chat) Object.assign(chat, structuredClone(change));
        }
        for (const message of messages) {
            if (!this.#chats.has(message.chat)) continue;
            if (isNewer(this.#messages.get(message.id), message)) continue;
            this.#messages.set(message.id, structuredClone(message));
        }
    }

    async sent(messages) {
        for (const { id, changed } of messages) {
            const stored = this.#messages.get(id);
            if (stored?.changed === changed) stored.unsent = false;
        }
    }

    async remove(chatId) {
        if (!this.#chats.get(chatId)?.deleted) return;
        this.#chats.delete(chatId);
        for (const { id, chat } of [...this.#messages.values()]) {
            if (chat === chatId) this.#messages.delete(id);
        }
    }
}

// Which chat is shown: the address has its ID (#c=ID), so that the browser's back, its bookmarks and its
// tabs work. No ID: the chat that has no messages yet.
//
// Events: "show" with detail {conversation}; "missing": the address names a chat that there is not.

const NAME = 'c';

function chatInAddress() {
    return new URLSearchParams(location.hash.slice(1)).get(NAME) ?? '';
}

export class Navigation extends EventTarget {
    #chats;
    #shown = null;
    #turn = 0;

    constructor(chats) {
        super();
        this.#chats = chats;
        addEventListener('popstate', () => this.#follow());
    }

    /** Returns the conversation that is shown. */
    get shown() {
        return this.#shown;
    }

    /** Shows what the address says. */
    async start() {
        await this.#follow();
    }

    /** Shows a chat; it becomes a step of the browser's history. */
    async open(id) {
        if (id !== this.#shown?.id) await this.#show(this.#chats.open(id), true);
    }

    async newChat() {
        await this.#show(this.#chats.openEmpty(), true);
    }

    /** Notes in the address that the shown chat has messages now. */
    update() {
        if (!this.#shown.isEmpty && chatInAddress() === '') this.#write('replaceState');
    }

    async #follow() {
        const id = chatInAddress();
        if (id !== '' && id === this.#shown?.id) return;
        await this.#show(id === '' ? this.#chats.openEmpty() : this.#chats.open(id), false);
    }

    async #show(opening, isStep) {
        const turn = ++this.#turn;
        const found = await opening;
        const conversation = found ?? await this.#chats.openEmpty();
        if (turn !== this.#turn) return; // the user has gone on meanwhile
        if (conversation === this.#shown) return;
        this.#shown?.flush();
        this.#shown = conversation;
        this.#chats.shownId = conversation.id;
        if (found === null) this.#write('replaceState');
        else if (isStep) this.#write('pushState');
        this.dispatchEvent(new CustomEvent('show', { detail: { conversation } }));
        if (found === null) this.dispatchEvent(new CustomEvent('missing'));
    }

    #write(method) {
        const { id, isEmpty } = this.#shown;
        const address = isEmpty ? location.pathname + location.search : `#${NAME}=${id}`;
        history[method](null, '', address);
    }
}

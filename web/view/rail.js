// The list of chats: beside the conversation on wide screens, a drawer over it on small ones.

import { button, byId, element } from '../base/dom.js';
import { language, t } from '../base/i18n.js';
import { icon } from '../base/icons.js';
import { openMenu } from './menu.js';

const WIDE = matchMedia('(min-width: 60rem)');
const NAME = 'kinglet.rail'; // whether the rail is hidden on wide screens
const MAX_ITEMS = 300; // more appear on demand
const DAY_MS = 24 * 3600 * 1000;
const SEARCH_WAIT_MS = 120;

let formats = null; // made once: making one takes longer than a thousand uses

/** Returns the heading for chats of that time: a day of the last week, or else a month. */
function dayOf(time, now = new Date()) {
    const date = new Date(Math.min(time, now.getTime()) || 0); // a clock elsewhere may be wrong
    const midnight = (d) => new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime();
    const days = Math.round((midnight(now) - midnight(date)) / DAY_MS);
    formats ??= {
        near: new Intl.RelativeTimeFormat(language(), { numeric: 'auto' }),
        day: new Intl.DateTimeFormat(language(), { weekday: 'long' }),
        month: new Intl.DateTimeFormat(language(), { month: 'long', year: 'numeric' }),
    };
    if (days <= 1) return formats.near.format(-Math.max(days, 0), 'day');
    return (days < 7 ? formats.day : formats.month).format(date);
}

export class Rail {
    #rail = byId('rail');
    #toggle = byId('toggle-rail');
    #backdrop = element('div', 'backdrop');
    #search = element('input', '');
    #list = element('nav', 'list');
    #status = element('p', 'status');
    #chats;
    #actions;
    #shownId = '';
    #results = null; // of the search: [{chat, message, before, found, after}]
    #maxItems = MAX_ITEMS;
    #drawn = '';
    #frame = 0;
    #timer = 0;

    /**
     * `actions`: {onNew(), onMenu(): items of the menu of all chats, onChatMenu(chat): items of a
     * chat's, markOf(chat): the name of a text of why it stays in this browser, onRename(chat, title), search(words): a promise of results, onFound(result)}.
     */
    constructor(chats, actions) {
        this.#chats = chats;
        this.#actions = actions;
        this.#build();
        chats.addEventListener('change', () => this.update());
        this.#toggle.addEventListener('click', () => this.#setOpen(!this.isOpen, true));
        this.#backdrop.addEventListener('click', () => this.#setOpen(false));
        this.#rail.addEventListener('keydown', (event) => this.#onKey(event));
        WIDE.addEventListener('change', () => this.#setOpen(WIDE.matches && !isHidden()));
        this.#setOpen(WIDE.matches && !isHidden());
    }

    get isOpen() {
        return !this.#rail.hidden;
    }

    /** Marks the chat that is shown; a drawer is closed. */
    show(conversation) {
        this.#shownId = conversation.id;
        if (!WIDE.matches) this.#setOpen(false);
        this.update();
    }

    /** Opens the search. */
    startSearch() {
        this.#setOpen(true);
        this.#search.focus();
        this.#search.select();
    }

    /** Says below the list where the chats are kept. */
    setStatus(text) {
        this.#status.textContent = text;
    }

    update() {
        if (this.#frame !== 0 || !this.isOpen) return;
        this.#frame = requestAnimationFrame(() => {
            this.#frame = 0;
            this.#draw();
        });
    }

    /** Lets the user change the title of a chat, in its place. */
    rename(chat) {
        const item = this.#list.querySelector(`[data-id="${chat.id}"]`);
        if (!item) return;
        const input = element('input', 'rename');
        input.value = chat.title;
        input.maxLength = 200;
        input.setAttribute('aria-label', t('title'));
        let isDone = false;
        const end = (isSaved) => {
            if (isDone) return;
            isDone = true;
            const hadFocus = document.activeElement === input;
            input.replaceWith(item.link);
            if (isSaved && input.value.trim() !== chat.title) {
                this.#actions.onRename(chat, input.value.trim());
            }
            if (hadFocus) item.link.focus();
        };
        input.addEventListener('keydown', (event) => {
            event.stopPropagation();
            if (event.isComposing || !['Enter', 'Escape'].includes(event.key)) return;
            event.preventDefault();
            end(event.key === 'Enter');
        });
        input.addEventListener('blur', () => end(true));
        item.link = item.querySelector('a');
        item.link.replaceWith(input);
        input.focus();
        input.select();
    }

    #build() {
        this.#search.type = 'search';
        this.#search.id = 'search';
        this.#search.placeholder = t('search');
        this.#search.setAttribute('aria-label', t('searchLabel'));
        this.#search.autocomplete = 'off';
        this.#search.addEventListener('input', () => this.#onSearch());
        this.#list.setAttribute('aria-label', t('chats'));
        const more = button('chat-menu', { iconName: 'more', label: t('moreChats') }, () => {
            openMenu(more, t('moreChats'), this.#actions.onMenu());
        });
        more.setAttribute('aria-haspopup', 'menu');
        this.#rail.setAttribute('aria-label', t('chats'));
        this.#rail.append(
            element('div', 'rail-top', element('label', 'search', icon('search'), this.#search,
                element('kbd', '', 'Ctrl K'))),
            button('rail-new', { iconName: 'plus', text: t('newChat') }, this.#actions.onNew),
            this.#list,
            element('div', 'rail-foot', this.#status, more),
        );
        this.#rail.before(this.#backdrop);
    }

    #setOpen(isOpen, isChosen = false) {
        const hadFocus = this.#rail.contains(document.activeElement);
        this.#rail.hidden = !isOpen;
        this.#toggle.setAttribute('aria-expanded', String(isOpen));
        const isDrawer = isOpen && !WIDE.matches;
        this.#backdrop.hidden = !isDrawer;
        for (const other of document.body.children) {
            if (other.matches('header, main, footer, #scroller, .skip')) other.inert = isDrawer;
        }
        if (isChosen && WIDE.matches) setHidden(!isOpen);
        if (isOpen) this.#draw();
        if (isDrawer) this.#rail.querySelector('.rail-new').focus();
        else if (hadFocus && !isOpen) this.#toggle.focus();
    }

    #onKey(event) {
        if (event.key === 'Escape') {
            if (this.#search.value !== '') this.#endSearch();
            else if (!WIDE.matches) this.#setOpen(false);
            else byId('message').focus();
            event.stopPropagation();
            return;
        }
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step === undefined) return;
        const all = [this.#search, ...this.#list.querySelectorAll('a')];
        const item = document.activeElement.closest('li')?.querySelector('a');
        const now = all.indexOf(item ?? document.activeElement);
        event.preventDefault();
        all[Math.min(Math.max(now + step, 0), all.length - 1)].focus();
    }

    #endSearch() {
        this.#search.value = '';
        this.#onSearch();
        this.#search.focus();
    }

    #onSearch() {
        clearTimeout(this.#timer);
        const words = this.#search.value.trim();
        if (words === '') {
            this.#results = null;
            this.#draw();
            return;
        }
        this.#timer = setTimeout(async () => {
            const results = await this.#actions.search(words);
            if (this.#search.value.trim() !== words) return;
            this.#results = results;
            this.#draw();
        }, SEARCH_WAIT_MS);
    }

    /** Draws the list anew if anything that it shows has changed. */
    #draw() {
        const groups = this.#results ? this.#foundGroups() : this.#groups();
        const state = JSON.stringify([groups, this.#shownId, this.#maxItems]);
        if (state === this.#drawn || this.#list.querySelector('.rename')) return;
        this.#drawn = state;
        const focused = document.activeElement.closest?.('#rail li')?.dataset.id;
        const top = this.#list.scrollTop;
        let left = this.#maxItems;
        const nodes = [];
        for (const { title, items } of groups) {
            if (left <= 0) break;
            const heading = element('h2', '', title);
            const list = element('ul', '', ...items.slice(0, left).map((item) => this.#item(item)));
            list.setAttribute('aria-label', title);
            nodes.push(heading, list);
            left -= items.length;
        }
        if (left < 0) {
            nodes.push(button('rail-new', { text: t('older') }, () => {
                this.#maxItems += MAX_ITEMS;
                this.#draw();
            }));
        }
        if (nodes.length === 0) {
            nodes.push(element('p', 'nothing', t(this.#results ? 'nothingFound' : 'noChats')));
        }
        this.#list.replaceChildren(...nodes);
        this.#list.scrollTop = top;
        if (focused) this.#list.querySelector(`[data-id="${focused}"] a`)?.focus();
    }

    #groups() {
        const groups = new Map();
        const chats = this.#chats.list();
        for (const chat of [...chats.filter((c) => c.pinned), ...chats.filter((c) => !c.pinned)]) {
            const title = chat.pinned ? t('pinned') : dayOf(chat.changed);
            if (!groups.has(title)) groups.set(title, []);
            const { id } = chat;
            groups.get(title).push({
                id, mark: this.#actions.markOf(chat), title: chat.title || t('untitled'),
                isRunning: this.#chats.isRunning(id), isNew: this.#chats.isUnseen(id),
            });
        }
        return [...groups].map(([title, items]) => ({ title, items }));
    }

    #foundGroups() {
        const items = this.#results.map((result) => ({
            id: result.chat.id, title: result.chat.title || t('untitled'), result,
        }));
        return items.length > 0 ? [{ title: t('found'), items }] : [];
    }

    #item({ id, title, mark, isRunning, isNew, result }) {
        const link = element('a', '', element('span', 'title', title));
        const item = element('li', '', link);
        item.dataset.id = id;
        link.href = `#c=${id}`;
        link.title = title;
        link.querySelector('.title').dir = 'auto';
        if (id === this.#shownId) link.setAttribute('aria-current', 'page');
        if (mark) link.append(labelled(icon('lock'), t(mark)));
        if (isRunning) link.append(labelled(element('span', 'pulse'), t('running')));
        else if (isNew) link.append(labelled(element('span', 'dot'), t('unseen')));
        if (result) {
            if (result.message) {
                link.append(element('span', 'snippet', result.before,
                    element('mark', '', result.found), result.after));
            }
            link.addEventListener('click', () => this.#actions.onFound(result));
            return item;
        }
        const more = button('chat-menu', { iconName: 'more', label: t('moreOf', { title }) }, () => {
            const chat = this.#chats.chat(id);
            openMenu(more, title, this.#actions.onChatMenu(chat));
        });
        more.setAttribute('aria-haspopup', 'menu');
        item.append(more);
        return item;
    }
}

/** Gives a mark a text for readers. */
function labelled(node, label) {
    const mark = element('span', 'mark', node, element('span', 'offscreen', label));
    mark.title = label;
    return mark;
}

function isHidden() {
    try {
        return localStorage.getItem(NAME) === 'hidden';
    } catch {
        return false;
    }
}

function setHidden(hidden) {
    try {
        if (hidden) localStorage.setItem(NAME, 'hidden');
        else localStorage.removeItem(NAME);
    } catch {
        // storage is forbidden
    }
}

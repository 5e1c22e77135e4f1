// Actions of the user on chats, apart from writing in them: the rail with its menus, the search,
// deleting and its undoing.

import { element } from './base/dom.js';
import { t } from './base/i18n.js';
import { UNDO_MS } from './chats/chats.js';
import { download, fileName, readChats, toJson, toMarkdown } from './chats/exchange.js';
import { isOfOtherKey } from './chats/owner.js';
import { searchChats } from './chats/search.js';
import { titleOf } from './chats/title.js';
import { showToast } from './view/menu.js';
import { Rail } from './view/rail.js';

const WARN_MS = 60000;
const LEFT_OUT_MS = 15000;
const MAX_NAMES = 5;

/** Says which images of an imported file are missing. */
function describeLeftOut(leftOut) {
    const named = [...new Set(leftOut.filter((name) => name !== ''))];
    const more = named.length > MAX_NAMES ? [...named.slice(0, MAX_NAMES), '…'] : named;
    return t('imagesLeftOut', { count: leftOut.length, names: more.join(', ') }).trim();
}

/** Makes the rail work. `onFound(message)`: shows a message of the chat that is open. */
export function connectRail({ chats, database, history, navigation, composer, onFound }) {
    const toasts = new Map(); // chat ID -> the toast that offers to restore it

    async function rename(chat, title) {
        const conversation = title === '' ? await chats.open(chat.id) : null;
        const first = conversation?.path()[0]?.content ?? '';
        await isSaved(chats.change(chat.id, { title: title || titleOf(first) }));
    }

    const isElsewhere = (chat) => history.isOn && !chat.isPrivate && isOfOtherKey(chat);

    const rail = new Rail(chats, {
        onNew: () => startNew(),
        onMenu: () => [
            { iconName: 'load', text: t('importChats'), onChoose: importChats },
            { iconName: 'save', text: t('exportChats'), onChoose: exportChats },
            ...history.isOn ? [{ iconName: 'lock', text: t('newPrivate'), onChoose: () => startPrivate() }] : [],
        ],
        onChatMenu: (chat) => [
            { iconName: 'edit', text: t('rename'), onChoose: () => rail.rename(chat) },
            {
                iconName: 'pin', text: t(chat.pinned ? 'unpin' : 'pin'),
                onChoose: () => isSaved(chats.change(chat.id, { pinned: !chat.pinned })),
            },
            ...history.isOn || chat.isPrivate ? [{
                iconName: 'lock', text: t(chat.isPrivate ? 'notPrivate' : 'makePrivate'),
                onChoose: () => isSaved(chats.change(chat.id, { isPrivate: !chat.isPrivate })),
            }] : [],
            ...isElsewhere(chat) ? [{
                iconName: 'load', text: t('adopt'), onChoose: () => history.adopt(chat.id),
            }] : [],
            { iconName: 'save', text: t('exportMarkdown'), onChoose: () => exportMarkdown(chat) },
            {
                iconName: 'delete', text: t('delete'), isDangerous: true,
                onChoose: () => remove(chat),
            },
        ],
        onRename: rename,
        markOf: (chat) => (chat.isPrivate ? 'private' : isElsewhere(chat) && 'ofOtherKey'),
        search: (words) => searchChats(database, chats.list(), words),
        onFound: async ({ chat, message }) => {
            await navigation.open(chat.id);
            if (message) onFound(message);
        },
    });

    async function startNew() {
        await navigation.newChat();
        const { id, isPrivate } = navigation.shown.chat;
        if (isPrivate) await chats.change(id, { isPrivate: false });
        rail.show(navigation.shown);
        composer.focus();
    }

    async function startPrivate() {
        await startNew();
        await chats.change(navigation.shown.id, { isPrivate: true });
    }

    async function exportMarkdown(chat) {
        const conversation = await chats.open(chat.id);
        const text = toMarkdown(conversation, { user: t('you'), assistant: t('assistant') });
        download(fileName(chat.title, 'md'), [text], 'text/markdown');
    }

    async function exportChats() {
        await navigation.shown.flush();
        const pieces = await toJson(chats.list(), (id) => database.messages(id));
        const day = new Date().toISOString().slice(0, 10);
        download(`kinglet-chats-${day}.json`, pieces, 'application/json');
    }

    function importChats() {
        const input = element('input', '');
        input.type = 'file';
        input.multiple = true;
        input.addEventListener('change', async () => {
            for (const file of input.files) await importFile(file);
        });
        input.click();
    }

    async function importFile(file) {
        try {
            const { chats: found, leftOut } = await readChats(file);
            if (!await isSaved(chats.add(found))) return;
            showToast(t('imported', { count: found.length, file: file.name }));
            if (leftOut.length > 0) showToast(describeLeftOut(leftOut), { ms: LEFT_OUT_MS });
        } catch {
            showToast(t('notImported', { file: file.name }));
        }
    }

    /** Returns whether a change is stored; if the disk is full, the user is told. */
    async function isSaved(change) {
        try {
            await change;
            return true;
        } catch {
            showToast(t('notSaved'));
            return false;
        }
    }

    function showWhereKept() {
        const here = chats.isLasting ? 'keptHere' : 'notKept';
        const states = { on: 'keptThere', unreachable: 'keptLater', full: 'keptFull' };
        rail.setStatus(t(states[history.state] ?? here));
    }

    async function remove(chat) {
        if (!await isSaved(chats.delete(chat.id))) return;
        toasts.get(chat.id)?.element.querySelector('button')?.focus();
    }

    chats.addEventListener('deleted', ({ detail: { chat } }) => {
        const wasShown = navigation.shown?.id === chat.id;
        const title = chat.title || t('untitled');
        toasts.get(chat.id)?.remove();
        toasts.set(chat.id, showToast(t('deleted', { title }), {
            ms: UNDO_MS,
            action: {
                text: t('undo'),
                onChoose: async () => {
                    await chats.restore(chat.id);
                    if (wasShown) await navigation.open(chat.id);
                    composer.focus();
                },
            },
        }));
        if (wasShown) navigation.newChat();
    });
    chats.addEventListener('restored', ({ detail: { chat } }) => {
        toasts.get(chat.id)?.remove();
        toasts.delete(chat.id);
    });
    let warned = -Infinity; // it is tried again each second
    chats.addEventListener('unsaved', () => {
        if (performance.now() - warned < WARN_MS) return;
        warned = performance.now();
        showToast(t('notSaved'));
    });
    navigation.addEventListener('show', ({ detail }) => rail.show(detail.conversation));
    navigation.addEventListener('missing', () => showToast(t('chatMissing')));
    document.addEventListener('keydown', (event) => {
        const isSearch = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k';
        if (!isSearch || document.querySelector('dialog[open]')) return;
        event.preventDefault();
        rail.startSearch();
    });
    history.addEventListener('change', () => {
        showWhereKept();
        rail.update();
    });
    showWhereKept();
    return { startNew };
}

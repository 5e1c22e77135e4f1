// Chats as files: one as Markdown to read, all as JSON to keep; and files of chats read, those of other
// programs as well (foreign.js).
//
// Ours: {"format": "kinglet-chats", "version": 1, "chats": [{id, title, created, changed, pinned,
// settings, current, messages: [...]}, ...]}, as the server keeps them.

import { textOf } from '../answering/files.js';
import { newId } from '../base/dom.js';
import { isTime, soundMessage } from './checked.js';
import { readForeign } from './foreign.js';
import { keyScope } from './owner.js';
import { titleOf } from './title.js';

const FORMAT = 'kinglet-chats';
const VERSION = 1;
const HEAD = ['id', 'title', 'created', 'changed', 'pinned', 'settings', 'current'];
const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** Returns what is shown of a chat as Markdown. `names`: {user, assistant}. */
export function toMarkdown(conversation, names) {
    const { title, created } = conversation.chat;
    const parts = [`# ${title}`, new Date(created).toLocaleString()];
    for (const { role, content, files } of conversation.path()) {
        parts.push(`## ${names[role]}`, textOf({ content, files }).trim());
    }
    return `${parts.join('\n\n')}\n`;
}

/** Returns all chats as JSON, in pieces. `messagesOf(id)`: a promise of the messages of a chat. */
export async function toJson(chats, messagesOf) {
    const pieces = [`{"format":"${FORMAT}","version":${VERSION},"chats":[`];
    for (const [i, chat] of chats.entries()) {
        const head = Object.fromEntries(HEAD.map((name) => [name, chat[name]]));
        const messages = (await messagesOf(chat.id)).map(({ chat: _, unsent, ...fields }) => fields);
        pieces.push(`${i > 0 ? ',' : ''}\n${JSON.stringify({ ...head, messages })}`);
    }
    pieces.push('\n]}\n');
    return pieces;
}

/** Gives the user a file. */
export function download(name, pieces, type) {
    const url = URL.createObjectURL(new Blob(pieces, { type }));
    const link = document.createElement('a');
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** Returns a title as the name of a file. */
export function fileName(title, ending) {
    const name = title.replace(/[\s\p{Cc}\p{Cf}/\\:*?"<>|]+/gu, ' ').trim().slice(0, 80);
    return `${name.replace(/^\.+/, '') || 'chat'}.${ending}`;
}

const timeOf = (value, otherwise) => (isTime(value) ? value : otherwise);

function checkedMessage(message, ids, now) {
    const { id, parent, role, content, created, changed, state, leftOut, ...fields } = soundMessage(message);
    const time = timeOf(created, now);
    return {
        ...fields, id: ids.get(id), parent: ids.get(parent) ?? null, role, content, created: time,
        changed: timeOf(changed, time), unsent: true,
        // an answer of a file is written by nothing
        ...role === 'assistant' ? { state: state && state !== 'writing' ? state : 'interrupted' } : {},
    };
}

/** Returns a chat as our database has it, from one of a file; null if it has no messages. */
function checkedChat(given, now) {
    const messages = (Array.isArray(given?.messages) ? given.messages : []).filter((m) => (
        ['user', 'assistant'].includes(m?.role) && typeof m.content === 'string'
        && typeof m.id === 'string'));
    if (messages.length === 0) return null;
    const own = (id) => (UUID.test(id) ? id.toLowerCase() : newId());
    const ids = new Map(messages.map(({ id }) => [id, own(id)]));
    const id = own(given.id ?? '');
    const checked = messages.map((message) => ({ ...checkedMessage(message, ids, now), chat: id }));
    cutCircles(checked);
    const created = timeOf(given.created, checked[0].created);
    const title = typeof given.title === 'string' ? given.title : '';
    return {
        chat: {
            id, created, changed: timeOf(given.changed, created),
            title: titleOf(title) || titleOf(checked[0].content),
            pinned: given.pinned === true, draft: '', owner: keyScope(),
            settings: given.settings?.constructor === Object ? given.settings : {},
            current: ids.get(given.current) ?? checked.at(-1).id,
        },
        messages: checked,
    };
}

/** Makes messages whose parents lead back to themselves the first ones of their chat. */
function cutCircles(messages) {
    const byId = new Map(messages.map((message) => [message.id, message]));
    const isGood = new Set();
    for (const message of messages) {
        const seen = new Set();
        for (let m = message; m && !isGood.has(m.id); m = byId.get(m.parent)) {
            seen.add(m.id);
            if (seen.has(m.parent)) m.parent = null;
        }
        for (const id of seen) isGood.add(id);
    }
}

/** Reads a file of chats: {chats: [{chat, messages}], leftOut: names}. Throws if it is none. */
export async function readChats(file) {
    const now = Date.now();
    const given = await readForeign(file);
    const chats = given?.format === FORMAT ? given.chats : given;
    if (!Array.isArray(chats)) throw new Error('no file of chats');
    const checked = chats.map((chat) => checkedChat(chat, now)).filter((chat) => chat !== null);
    if (checked.length === 0) throw new Error('no chats in the file');
    const leftOut = chats.flatMap((chat) => chat?.messages ?? []).flatMap((m) => m?.leftOut ?? []);
    return { chats: checked, leftOut };
}

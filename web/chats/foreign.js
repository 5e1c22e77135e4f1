// Reads files of chats of other programs, by what is in them and not by their names:
//
// llama-ui (of llama.cpp): lines of JSON, {"type": "session", id, name, lastModified, currNode} and then
//   {"type": "message", "message": {id, parent, role, content, timestamp, type}}; before that one
//   document, {conv, messages} or a list of those. Several chats are files in a ZIP archive. The first
//   message is an empty root of the type "root". Times in milliseconds.
// Open WebUI: a list of {id, title, chat: {title, history: {messages: {ID: {id, parentId, role, content,
//   timestamp}}, currentId}}, created_at, updated_at, pinned}, or of what is in `chat` itself. Times in
//   seconds, those of a `chat` in milliseconds.
//
// Texts that a message comes with become its files; images and whatever has no text are left out, and
// each such message says their names in `leftOut`.

import { unzip } from './zip.js';

const SECONDS = 100_000_000_000; // a smaller time cannot be milliseconds: it would be before 1973

const millis = (time) => Math.round(time < SECONDS ? time * 1000 : time);

const IMAGE = 'image'; // stands for one without a name, where a message is nothing else

/** Returns {content, files, leftOut} of a message: its text or list of parts, and what it comes with. */
function partsOf({ content, extra, files }) {
    const parts = Array.isArray(content) ? content : [{ type: 'text', text: content ?? '' }];
    const said = parts.filter(({ type, text }) => type === 'text' && typeof text === 'string')
        .map(({ text }) => text).join('\n\n');
    const attached = [extra, files].flatMap((list) => (Array.isArray(list) ? list : []))
        .filter((one) => typeof one === 'object' && one !== null)
        .map(({ name, content: own, file }) => ({
            name: String(name ?? file?.filename ?? ''), text: own ?? file?.data?.content,
        }));
    const texts = attached.filter(({ text }) => typeof text === 'string' && text !== '');
    const leftOut = [
        ...parts.filter(({ type }) => type !== 'text').map(() => ''),
        ...attached.filter((one) => !texts.includes(one)).map(({ name }) => name),
    ];
    const isEmpty = said === '' && texts.length === 0;
    return {
        content: isEmpty ? leftOut.map((name) => `[${name || IMAGE}]`).join('\n') : said,
        ...texts.length > 0 ? { files: texts } : {}, leftOut,
    };
}

function parse(text) {
    const first = text.trimStart().split('\n', 1)[0];
    let isLines = false;
    try {
        isLines = JSON.parse(first).type === 'session';
    } catch {
        // one document of several lines
    }
    if (!isLines) return JSON.parse(text);
    const sessions = [];
    for (const line of text.split('\n')) {
        if (line.trim() === '') continue;
        const record = JSON.parse(line);
        if (record.type === 'session') sessions.push({ conv: record, messages: [] });
        else if (record.type === 'message') sessions.at(-1)?.messages.push(record.message);
    }
    return sessions;
}

const isMessage = (m) => typeof m === 'object' && m !== null;

const withTextIds = ({ id, parent, ...m }) => ({ ...m, id: String(id), parent: String(parent) });

/** A message with a place in a tree; those of the roles "system" and "tool" are left out. */
function fromLlama({ conv, messages: given }) {
    const kept = new Map();
    const messages = given.filter(isMessage).map(withTextIds); // older files have numbers
    const all = new Map(messages.map((m) => [m.id, m]));
    const isKept = (m) => ['user', 'assistant'].includes(m.role) && m.type !== 'root';
    const parentOf = ({ parent }) => {
        let m = all.get(parent);
        for (let steps = all.size; m && !isKept(m) && steps > 0; steps--) m = all.get(m.parent);
        return m && isKept(m) ? m.id : null;
    };
    for (const m of messages) {
        if (!isKept(m)) continue;
        const { id, role, timestamp, model, reasoningContent } = m;
        kept.set(id, {
            ...partsOf(m), id, role, parent: parentOf(m), created: millis(timestamp ?? 0), model,
            ...role === 'assistant' ? { state: 'complete' } : {},
            ...reasoningContent ? { thought: reasoningContent } : {},
        });
    }
    return {
        id: conv.id, title: conv.name, changed: millis(conv.lastModified ?? 0), pinned: conv.pinned,
        current: String(conv.currNode), messages: [...kept.values()],
    };
}

function fromOpenWebUi(record) {
    const chat = record.chat ?? record;
    const list = chat.history?.messages
        ? Object.values(chat.history.messages) : chat.messages ?? [];
    let before = null; // old files have only a list, without parents
    const messages = list.filter(isMessage).map((m) => {
        const { id, role, timestamp, model } = m;
        const parent = m.parentId === undefined ? before : m.parentId;
        before = id;
        return {
            ...partsOf(m), id, parent, role, created: millis(timestamp ?? 0), model,
            ...role === 'assistant' ? { state: 'complete' } : {},
        };
    });
    return {
        id: record.id ?? chat.id, title: record.title ?? chat.title,
        created: millis(record.created_at ?? chat.timestamp ?? 0),
        changed: millis(record.updated_at ?? record.created_at ?? chat.timestamp ?? 0),
        pinned: record.pinned === true, current: chat.history?.currentId, messages,
    };
}

function convert(record) {
    if (record?.conv && Array.isArray(record.messages)) return fromLlama(record);
    if (record?.chat || record?.history?.messages) return fromOpenWebUi(record);
    return record;
}

/** Reads a file: a list of chats in our form, or the document itself if it is of no other program. */
export async function readForeign(file) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const texts = await unzip(bytes, '.jsonl') ?? [new TextDecoder().decode(bytes)];
    const documents = texts.map(parse);
    if (documents.length === 1 && !Array.isArray(documents[0]) && !documents[0]?.conv
        && !documents[0]?.chat && !documents[0]?.history) return documents[0];
    return documents.flat().map(convert);
}

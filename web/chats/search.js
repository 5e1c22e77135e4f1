// Searches all texts of all chats.

const MAX_RESULTS = 60;
const BEFORE = 28; // characters of the text before what was found
const AFTER = 90;

const folded = (text) => text.toLowerCase();

/** Returns the place of the first word in a text that has all of them; -1 if it does not. */
function placeOf(text, words) {
    const low = folded(text);
    return words.every((word) => low.includes(word)) ? low.indexOf(words[0]) : -1;
}

function snippet(text, place, length) {
    const line = (part) => part.replace(/\*\*|`+/g, '').replace(/\s+/g, ' ');
    const start = Math.max(place - BEFORE, 0);
    return {
        before: `${start > 0 ? '…' : ''}${line(text.slice(start, place))}`,
        found: text.slice(place, place + length),
        after: line(text.slice(place + length, place + length + AFTER)),
    };
}

/**
 * Returns the chats (of `chats`, the latest first) that have all words of `query` in their title or in
 * one of their messages: [{chat, message, before, found, after}], without a message if it is the title.
 */
export async function searchChats(database, chats, query) {
    const words = folded(query).split(/\s+/).filter((word) => word !== '');
    const found = new Map(); // chat ID -> result
    const known = new Map(chats.map((chat) => [chat.id, chat]));
    for await (const messages of database.allMessages()) {
        for (const message of messages) {
            if (!known.has(message.chat)) continue;
            const earlier = found.get(message.chat);
            if (earlier && earlier.message.created <= message.created) continue;
            const place = placeOf(message.content, words);
            if (place < 0) continue;
            found.set(message.chat, {
                chat: known.get(message.chat), message,
                ...snippet(message.content, place, words[0].length),
            });
        }
    }
    return chats.filter((chat) => found.has(chat.id) || placeOf(chat.title, words) >= 0)
        .slice(0, MAX_RESULTS).map((chat) => found.get(chat.id) ?? { chat });
}

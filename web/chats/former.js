// The one conversation that earlier versions of the page kept as long as the tab.

import { newId } from '../base/dom.js';
import { titleOf } from './title.js';

const NAME = 'kinglet.conversation';

/** Makes a chat of it, once, and shows it by the address. */
export async function importFormerChat(chats) {
    let turns;
    try {
        turns = JSON.parse(sessionStorage.getItem(NAME));
    } catch {
        return; // storage is forbidden, or it is no JSON
    }
    if (!Array.isArray(turns)) return;
    const now = Date.now();
    const id = newId();
    const messages = [];
    for (const turn of turns) {
        if (!['user', 'assistant'].includes(turn?.role) || typeof turn.content !== 'string') continue;
        const created = now + messages.length;
        messages.push({
            id: newId(), chat: id, parent: messages.at(-1)?.id ?? null, role: turn.role,
            content: turn.content, created, changed: created, unsent: true,
            ...turn.role === 'assistant' ? { state: turn.state ?? 'complete' } : {},
        });
    }
    if (messages.length > 0) {
        const title = titleOf(messages[0].content);
        await chats.add([{
            chat: {
                id, title, created: now, changed: now, pinned: false, draft: '', settings: {},
                current: messages.at(-1).id,
            },
            messages,
        }]);
        history.replaceState(null, '', `#c=${id}`);
    }
    sessionStorage.removeItem(NAME);
}

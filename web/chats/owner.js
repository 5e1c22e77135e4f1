// Whose a chat is, where several keys are used in one browser: that of the key with which its first
// message was written (`owner`), and so is what is kept of it on the server. With another key it stays as it
// is, in this browser. A chat that was made without any key becomes that of the first one.

import { currentKey } from '../connection/key.js';

/** Returns a short name of the key in use; '': none. */
export function keyScope() {
    const key = currentKey();
    let hash = 2166136261;
    for (const character of key) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
    return key === '' ? '' : (hash >>> 0).toString(16);
}

export const ownerOf = ({ owner, sync }) => owner || (sync?.scope ?? '');

/** Whether a chat is that of another key than the one in use. */
export const isOfOtherKey = (chat) => !['', keyScope()].includes(ownerOf(chat));

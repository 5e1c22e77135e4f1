// The server's count of the tokens of a text.

import { accessHeaders, failure } from './api.js';

/** Returns how many tokens a text has. */
export async function countTokens(text, { signal } = {}) {
    const response = await fetch('tokenize', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...accessHeaders() },
        body: JSON.stringify({ content: text, parse_special: false }),
        signal,
    });
    if (!response.ok) throw await failure(response);
    const { tokens } = await response.json();
    return tokens.length;
}

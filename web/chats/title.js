// The titles of chats.

const LENGTH = 60; // characters; the rail cuts them further by its width

/** Returns a title for a chat that begins with this question: its first line, shortened. */
export function titleOf(question) {
    const line = question.split('\n')
        .map((text) => text.replace(/^[\s#>*~-]+|\*\*|__|`+|\p{Cc}/gu, '').trim())
        .find((text) => text !== '') ?? '';
    const characters = [...line.replace(/\s+/g, ' ')];
    if (characters.length <= LENGTH) return characters.join('');
    const cut = characters.slice(0, LENGTH - 1).join('');
    const space = cut.lastIndexOf(' ');
    return `${space > LENGTH / 2 ? cut.slice(0, space) : cut}…`;
}

// Files that a question comes with: {name, text, tokens}, which are stored with the message.

const KINDS = {
    bash: 'sh', c: 'c', cc: 'cpp', cpp: 'cpp', cs: 'csharp', css: 'css', csv: 'csv', go: 'go', h: 'c',
    hpp: 'cpp', html: 'html', ini: 'ini', java: 'java', js: 'javascript', json: 'json', kt: 'kotlin',
    lua: 'lua', mjs: 'javascript', php: 'php', pl: 'perl', ps1: 'powershell', py: 'python', r: 'r',
    rb: 'ruby', rs: 'rust', sh: 'sh', sql: 'sql', swift: 'swift', toml: 'toml', ts: 'typescript',
    tsv: 'tsv', tsx: 'tsx', jsx: 'jsx', xml: 'xml', yaml: 'yaml', yml: 'yaml',
};

/** Returns the language of a file for the fence around it; '' for plain text. */
function languageOf(name) {
    const ending = name.slice(name.lastIndexOf('.') + 1).toLowerCase();
    return Object.hasOwn(KINDS, ending) ? KINDS[ending] : '';
}

/** Returns a file as Markdown: its name, and its text in a fence that is longer than any in it. */
function fenced({ name, text }) {
    const longest = Math.max(2, ...Array.from(text.matchAll(/`{3,}/g), ([ticks]) => ticks.length));
    const fence = '`'.repeat(longest + 1);
    return `${name}\n${fence}${languageOf(name)}\n${text.replace(/\n?$/, '\n')}${fence}`;
}

/** Returns the files of a message; a message that was imported may have anything there. */
export function filesOf({ files }) {
    if (!Array.isArray(files)) return [];
    return files.filter((file) => typeof file?.name === 'string' && typeof file.text === 'string');
}

/** Returns the text of a message as the model reads it: its files, then what the user wrote. */
export function textOf(message) {
    return [...filesOf(message).map(fenced), message.content].filter((part) => part !== '').join('\n\n');
}

// A token of text in Latin letters has about four characters, of other scripts one and a half.
const LATIN_CHARACTERS = 4;
const OTHER_CHARACTERS = 1.5;

/** Returns about how many tokens a text has, until the server says it. */
export function estimateTokens(text) {
    const others = text.replace(/[\0-\u024f]/g, '').length;
    return Math.ceil((text.length - others) / LATIN_CHARACTERS + others / OTHER_CHARACTERS);
}

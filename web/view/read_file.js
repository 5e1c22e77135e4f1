// Reads files that the user adds, as text.

import { language } from '../base/i18n.js';

export const MAX_BYTES = 512 * 1024; // more than a context holds, and less than a request may have
const BINARY = /[\0-\x08\x0e-\x1a\x1c-\x1f]/; // control characters that no text has (\x1b colours)

// Spreadsheets that do not write UTF-8 write these, by the language of the page
const OLD_ENCODINGS = { 'zh-Hans': 'gb18030', 'zh-Hant': 'big5', ja: 'shift_jis', ar: 'windows-1256' };

function decode(bytes) {
    if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
    if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes);
    try {
        return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
        return new TextDecoder(OLD_ENCODINGS[language()] ?? 'windows-1252').decode(bytes);
    }
}

/**
 * Reads a File. Returns {name, text}, or {name, problem}: the name of the text that says why it is not
 * read.
 */
export async function readFile(file) {
    const { name } = file;
    if (/\.pdf$/i.test(name) || file.type === 'application/pdf') return { name, problem: 'filePdf' };
    if (file.type.startsWith('image/')) return { name, problem: 'fileImage' };
    if (file.size > MAX_BYTES) return { name, problem: 'fileTooLarge' };
    let bytes;
    try {
        bytes = new Uint8Array(await file.arrayBuffer());
    } catch {
        return { name, problem: 'fileUnreadable' }; // a folder, or a file that is gone
    }
    if (bytes[0] === 0x25 && bytes[1] === 0x50 && bytes[2] === 0x44 && bytes[3] === 0x46) {
        return { name, problem: 'filePdf' };
    }
    const text = decode(bytes).replace(/\r\n?/g, '\n');
    if (BINARY.test(text)) return { name, problem: 'fileBinary' };
    if (text.trim() === '') return { name, problem: 'fileEmpty' };
    return { name, text };
}

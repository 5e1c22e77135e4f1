// Copies text, also if the page was loaded over plain http and has no clipboard API.

import { say } from './dom.js';
import { icon } from './icons.js';
import { t } from './i18n.js';

const SHOWN_MS = 1500;

/** Copies in the older way: a selection and a command. Returns whether it worked. */
function copyBySelection(text) {
    const focused = document.activeElement;
    // a dialog that is open makes everything outside of it unselectable
    const parent = document.querySelector('dialog[open]') ?? document.body;
    const area = document.createElement('textarea');
    area.value = text;
    area.readOnly = true;
    area.className = 'offscreen';
    parent.append(area);
    area.select();
    area.setSelectionRange(0, text.length);
    const copied = document.execCommand('copy');
    area.remove();
    focused?.focus({ preventScroll: true });
    return copied;
}

export async function copyText(text) {
    if (window.isSecureContext && navigator.clipboard) {
        try {
            await navigator.clipboard.writeText(text);
            return true;
        } catch {
            // not permitted: the older way may still work
        }
    }
    return copyBySelection(text);
}

/** Returns a button that copies the result of `text()` and confirms it for a moment. */
export function copyButton(text, { label }) {
    const button = document.createElement('button');
    const caption = document.createElement('span');
    let timer = 0;
    const show = (name, words) => {
        button.replaceChildren(icon(name), caption);
        caption.textContent = words;
    };
    button.type = 'button';
    button.className = 'copy quiet';
    button.setAttribute('aria-label', label);
    show('copy', t('copy'));
    button.addEventListener('click', async () => {
        const copied = await copyText(text());
        show(copied ? 'check' : 'copy', t(copied ? 'copied' : 'notCopied'));
        say(caption.textContent);
        clearTimeout(timer);
        timer = setTimeout(() => show('copy', t('copy')), SHOWN_MS);
    });
    return button;
}

// The keyboard's shortcuts, and the list of them.

import { byId, element } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { openDialog } from './dialog.js';

const NAME = 'kinglet.singleKeys'; // "off": those of a single key do nothing

const isApple = /Mac|iPhone|iPad/.test(navigator.platform);

// `key`: as KeyboardEvent says it. Those with an `action` and without `ctrl` work outside of text fields
// only, and can be switched off: a voice or a trembling hand may type them unmeant (WCAG 2.1.4). Those
// without `action` are handled where they work, and only listed.
const SHORTCUTS = [
    { key: '/', action: 'focus', name: 'keyFocus' },
    { key: 'Enter', name: 'send' },
    { key: 'Enter', shift: true, name: 'keyNewLine' },
    { key: '/', name: 'keyPrompts' },
    { key: 'Escape', name: 'stop' },
    { key: 'o', ctrl: true, shift: true, action: 'newChat', name: 'newChat' },
    { key: 'k', ctrl: true, name: 'keySearch' },
    { key: 'c', ctrl: true, shift: true, action: 'copyLast', name: 'keyCopyLast' },
    { key: ',', ctrl: true, action: 'settings', name: 'settings' },
    { key: '?', action: 'list', name: 'shortcuts' },
];

function keysOf({ key, ctrl, shift }) {
    const names = [];
    if (ctrl) names.push(isApple ? '⌘' : 'Ctrl');
    if (shift) names.push(isApple ? '⇧' : 'Shift');
    names.push({ Escape: 'Esc', Enter: '⏎' }[key] ?? key.toUpperCase());
    return names;
}

function matches(event, { key, ctrl = false, shift }) {
    const hasCtrl = isApple ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
    if (event.key.toLowerCase() !== key || event.altKey) return false;
    // a sign like "?" needs Shift on some keyboards and not on others
    if (!ctrl) return !event.ctrlKey && !event.metaKey;
    return hasCtrl && event.shiftKey === Boolean(shift);
}

/** Whether a single key is a shortcut, unless the user has switched that off. */
export function hasSingleKeys() {
    try {
        return localStorage.getItem(NAME) !== 'off';
    } catch {
        return true; // storage is forbidden
    }
}

export function setSingleKeys(isOn) {
    try {
        if (isOn) localStorage.removeItem(NAME);
        else localStorage.setItem(NAME, 'off');
    } catch {
        // storage is forbidden
    }
}

const isOff = ({ action, ctrl }) => action && !ctrl && !hasSingleKeys();

const WRITING = 'textarea, select, input:not([type="checkbox"], [type="radio"])';
const isWriting = ({ target }) => target.matches?.(WRITING) || target.isContentEditable;

/** `actions`: what to do by the name of the action. Those that are missing are not listed. */
export class Shortcuts {
    #actions;

    constructor(actions) {
        this.#actions = { ...actions, list: () => this.open() };
        document.addEventListener('keydown', (event) => {
            if (event.isComposing || event.repeat || document.querySelector('dialog[open]')) return;
            const found = SHORTCUTS.find((shortcut) => shortcut.action in this.#actions
                && matches(event, shortcut) && (shortcut.ctrl || !isWriting(event)));
            if (!found || isOff(found)) return;
            event.preventDefault();
            this.#actions[found.action]();
        });
    }

    /** Opens the list. */
    open() {
        const offered = SHORTCUTS.filter((shortcut) => (
            (shortcut.action ?? 'list') in this.#actions && !isOff(shortcut)));
        byId('shortcuts-list').replaceChildren(...offered.map((shortcut) => element('div', '',
            element('dt', '', t(shortcut.name)),
            element('dd', '', ...keysOf(shortcut).map((key) => element('kbd', '', key))))));
        openDialog(byId('shortcuts'), { accept: () => {} });
    }
}

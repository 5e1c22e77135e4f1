// Menus that open at a button, and short messages at the bottom of the page.

import { button, byId, element } from '../base/dom.js';

let close = () => {};

/** Closes the menu that is open; returns whether there was one. */
export function closeMenu() {
    return close();
}

function place(menu, anchor) {
    const box = anchor.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = menu;
    const isRtl = document.documentElement.dir === 'rtl';
    const left = isRtl ? box.left : box.right - width;
    const top = box.bottom + height + 8 > innerHeight ? box.top - height - 4 : box.bottom + 4;
    menu.style.left = `${Math.min(Math.max(left, 8), innerWidth - width - 8)}px`;
    menu.style.top = `${Math.max(top, 8)}px`;
}

/** Opens a menu of `items`: {iconName, text, isDangerous, onChoose}. */
export function openMenu(anchor, label, items) {
    close();
    const menu = element('div', 'menu');
    menu.setAttribute('role', 'menu');
    menu.setAttribute('aria-label', label);
    for (const { iconName, text, isDangerous = false, onChoose } of items) {
        const item = button(isDangerous ? 'dangerous' : '', { iconName, text }, () => {
            close();
            onChoose();
        });
        item.setAttribute('role', 'menuitem');
        item.tabIndex = -1;
        menu.append(item);
    }
    const closing = new AbortController();
    const { signal } = closing;
    close = () => {
        close = () => false;
        closing.abort();
        const hadFocus = menu.contains(document.activeElement);
        menu.remove();
        anchor.setAttribute('aria-expanded', 'false');
        if (hadFocus) anchor.focus();
        return true;
    };
    menu.addEventListener('keydown', (event) => {
        const all = [...menu.children];
        const now = all.indexOf(document.activeElement);
        const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: -1 }[event.key];
        if (next !== undefined) all.at(next % all.length).focus();
        else if (event.key === 'Escape' || event.key === 'Tab') close();
        else return;
        event.preventDefault();
        event.stopPropagation();
    });
    document.addEventListener('pointerdown', ({ target }) => {
        if (!menu.contains(target) && !anchor.contains(target)) close();
    }, { signal });
    addEventListener('resize', () => close(), { signal });
    // inside of the anchor's part of the page, which alone can be used while a drawer is open
    (anchor.closest('aside, dialog') ?? document.body).append(menu);
    anchor.setAttribute('aria-expanded', 'true');
    place(menu, anchor);
    menu.firstElementChild.focus();
}

/** Shows a message for some time, with a button if `action` is given: {text, onChoose}. */
export function showToast(text, { action = null, ms = 6000 } = {}) {
    const toast = element('div', 'toast', element('span', '', text));
    const remove = () => {
        const hadFocus = toast.contains(document.activeElement);
        toast.remove();
        if (hadFocus) byId('message').focus();
    };
    if (action) {
        toast.append(button('', { text: action.text }, () => {
            remove();
            action.onChoose();
        }));
    }
    byId('toasts').append(toast);
    setTimeout(remove, ms);
    return { element: toast, remove };
}

// Short forms of what every part of the page does with the document.

import { icon } from './icons.js';

export const byId = (id) => document.getElementById(id);

/** Returns a new element with a class and children: nodes, or strings that become texts. */
export function element(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className !== '') node.className = className;
    node.append(...children);
    return node;
}

/** Returns a button with an icon, a text, or both; the label of one without a text is for readers. */
export function button(className, { iconName = '', text = '', label = '' }, onClick) {
    const node = element('button', className);
    node.type = 'button';
    if (iconName !== '') node.append(icon(iconName));
    if (text !== '') node.append(element('span', '', text));
    if (label !== '') {
        node.setAttribute('aria-label', label);
        node.title = label;
    }
    if (onClick) node.addEventListener('click', onClick);
    return node;
}

/** Resolves in a task of its own: the browser may show the changes so far before. */
export const nextTask = () => new Promise((resolve) => { setTimeout(resolve); });

/** Announces text to a screen reader. The element is emptied again: it is no part of the page's text. */
export function say(text) {
    const region = byId('say');
    region.textContent = text;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => region.replaceChildren(), 4000);
}

/** Returns a random UUID. crypto.randomUUID does not exist on plain http. */
export function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

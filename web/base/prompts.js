// Prompts at hand: those of the page, and the user's own, which the browser keeps. A prompt is
// {name, text}.

import { t } from './i18n.js';

const NAME = 'kinglet.prompts';
const BUILT_IN = ['Translate', 'Summarise', 'Correct', 'Explain'];

export const MAX_PROMPTS = 50;
export const MAX_NAME = 40; // characters
export const MAX_TEXT = 10000;

/** Returns the user's own prompts. */
export function ownPrompts() {
    try {
        const stored = JSON.parse(localStorage.getItem(NAME)) ?? [];
        return stored.slice(0, MAX_PROMPTS)
            .filter(({ name, text }) => typeof name === 'string' && typeof text === 'string');
    } catch {
        return [];
    }
}

/** Keeps the user's own prompts; false: the browser does not let it. */
export function saveOwnPrompts(prompts) {
    try {
        localStorage.setItem(NAME, JSON.stringify(prompts));
        return true;
    } catch {
        return false;
    }
}

/** Returns the prompts whose name has a word that begins with the query; the own ones first. */
export function findPrompts(query) {
    const wanted = query.toLowerCase();
    const builtIn = BUILT_IN.map((name) => ({ name: t(`prompt${name}`), text: t(`prompt${name}Text`) }));
    return [...ownPrompts(), ...builtIn].filter(({ name }) => {
        const lower = name.toLowerCase();
        return lower.startsWith(wanted) || lower.includes(` ${wanted}`);
    });
}

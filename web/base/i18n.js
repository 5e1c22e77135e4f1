// The texts of the page: one file of lang/ each, with the same names. The user's choice decides, else
// the first language of the browser that there is, else English.
//
// A text whose words depend on a number has a form for each plural of its language (CLDR's names: one,
// few, other, ...), and the value named `count` decides.

const LANGUAGES = {
    'zh-Hans': () => import('../lang/zh-Hans.json'),
    'zh-Hant': () => import('../lang/zh-Hant.json'),
    en: () => import('../lang/en.json'),
    de: () => import('../lang/de.json'),
    es: () => import('../lang/es.json'),
    fr: () => import('../lang/fr.json'),
    ja: () => import('../lang/ja.json'),
    ar: () => import('../lang/ar.json'),
};
const CHOICE = 'kinglet.language';

let words = {};
let current = 'en';

/** Returns the name of the language for a tag of the browser ("zh-TW"), or null. */
export function languageOf(tag) {
    const [language, ...rest] = tag.toLowerCase().split('-');
    if (language === 'zh') {
        const isTraditional = rest.some((part) => ['hant', 'tw', 'hk', 'mo'].includes(part));
        return isTraditional ? 'zh-Hant' : 'zh-Hans';
    }
    return Object.hasOwn(LANGUAGES, language) ? language : null;
}

/** Returns the user's choice, null if there is none. */
function chosenLanguage() {
    try {
        const chosen = localStorage.getItem(CHOICE);
        return Object.hasOwn(LANGUAGES, chosen) ? chosen : null;
    } catch {
        return null; // storage is forbidden
    }
}

const browserLanguage = () => navigator.languages.map(languageOf).find((name) => name !== null) ?? 'en';

export const language = () => current;

/** Loads the texts; to be awaited before anything is shown. */
export async function loadLanguage() {
    current = chosenLanguage() ?? browserLanguage();
    words = (await LANGUAGES[current]()).default;
    document.documentElement.lang = current;
    document.documentElement.dir = current === 'ar' ? 'rtl' : 'ltr';
}

/** Returns the name of a language in that language. */
function ownName(name) {
    const shown = new Intl.DisplayNames([name], { type: 'language' }).of(name);
    return shown.charAt(0).toLocaleUpperCase(name) + shown.slice(1);
}

/** Fills a <select> with the languages. Returns the value of the choice, '': as the browser says. */
export function fillLanguages(select) {
    const option = (text, value) => {
        const made = new Option(text, value);
        if (value !== '') made.lang = value;
        return made;
    };
    const automatic = option(t('languageOfBrowser', { language: ownName(browserLanguage()) }), '');
    select.replaceChildren(automatic,
        ...Object.keys(LANGUAGES).map((name) => option(ownName(name), name)));
    select.value = chosenLanguage() ?? '';
    return select.value;
}

/** Chooses a language for this and later visits; null: as the browser says. The page is loaded anew. */
export function chooseLanguage(name) {
    try {
        if (name === null) localStorage.removeItem(CHOICE);
        else localStorage.setItem(CHOICE, name);
    } catch {
        // storage is forbidden
    }
    location.reload();
}

// by the digits after the point; to make one costs more than to use it
const formats = new Map();
const plurals = new Map();

function made(known, digits, Kind) {
    if (!known.has(digits)) known.set(digits, new Kind(current, { maximumFractionDigits: digits }));
    return known.get(digits);
}

export const number = (value, digits = 0) => made(formats, digits, Intl.NumberFormat).format(value);

/** Returns the text of that name, with {values} filled in; numbers among them by number(). */
export function t(name, values = {}, digits = 0) {
    let text = words[name];
    if (typeof text !== 'string') {
        text = text[made(plurals, digits, Intl.PluralRules).select(values.count)];
    }
    return text.replace(/\{(\w+)\}/g, (_, key) => (
        typeof values[key] === 'number' ? number(values[key], digits) : String(values[key])));
}

/** Returns a list of texts. */
export const texts = (name) => words[name];

/** Fills the texts into the elements below `root` that name them. */
export function translate(root = document) {
    for (const node of root.querySelectorAll('[data-text]')) {
        node.textContent = t(node.dataset.text);
    }
    for (const node of root.querySelectorAll('[data-label]')) {
        node.setAttribute('aria-label', t(node.dataset.label));
        if (node.matches('button')) node.title = t(node.dataset.label);
    }
    for (const node of root.querySelectorAll('[data-placeholder]')) {
        node.placeholder = t(node.dataset.placeholder);
    }
}

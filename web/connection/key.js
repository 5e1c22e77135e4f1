// The API key: kept as long as the tab, or longer if the user says so.

const NAME = 'kinglet.key';

function read(storage) {
    try {
        const key = JSON.parse(storage().getItem(NAME));
        return typeof key === 'string' ? key : '';
    } catch {
        return '';
    }
}

/** Event "change": another key is in use, or none. */
export const keyChanges = new EventTarget();

let key = read(() => sessionStorage) || read(() => localStorage);

export const currentKey = () => key;

/** Returns whether the key outlives the tab. */
export const isKeyRemembered = () => key !== '' && read(() => localStorage) === key;

export function setKey(value, { isRemembered = false } = {}) {
    key = value;
    try {
        sessionStorage.setItem(NAME, JSON.stringify(value));
        if (isRemembered) localStorage.setItem(NAME, JSON.stringify(value));
        else localStorage.removeItem(NAME);
    } catch {
        // storage is forbidden: the key is kept as long as the page
    }
    keyChanges.dispatchEvent(new Event('change'));
}

/**
 * Takes a key out of the page's address (#key=KEY, also with c=ID) and returns it, '' if there is none.
 * It is gone from the address bar and from the history at once; the rest of the address stays.
 */
export function takeKeyFromAddress() {
    const parts = location.hash.slice(1).split('&');
    const given = parts.find((part) => part.startsWith('key='));
    if (given === undefined) return '';
    const rest = parts.filter((part) => !part.startsWith('key=')).join('&');
    const address = location.pathname + location.search + (rest === '' ? '' : `#${rest}`);
    history.replaceState(history.state, '', address);
    const value = given.slice('key='.length);
    try {
        return decodeURIComponent(value).trim();
    } catch {
        return value.trim(); // a key with a percent sign, as it is
    }
}

// The dialog that asks for the API key when the server wants one.

import { byId } from '../base/dom.js';
import { t } from '../base/i18n.js';

let asking = null;

function showError(text) {
    byId('key-error').textContent = text;
    byId('key-error').hidden = text === '';
    byId('key').setAttribute('aria-invalid', text === '' ? 'false' : 'true');
}

/**
 * Asks for the key until the server accepts one; returns a promise of whether there is one now: false if
 * the user cancels. `tryKey(key, isRemembered)`: a promise of '' or of the reason why it is not accepted.
 * `error`: why the one that is in use is not; `offered`: one that the user has only to confirm. One
 * dialog at a time.
 */
export function askForKey({ tryKey, error = '', offered = '' }) {
    asking ??= new Promise((resolve) => {
        const dialog = byId('key-dialog');
        const form = dialog.querySelector('form');
        const closing = new AbortController();
        const { signal } = closing;
        let isAccepted = false;
        byId('key').value = offered;
        byId('key-help').textContent = t(offered === '' ? 'keyHelp' : 'keyOffered');
        showError(error);
        form.addEventListener('submit', async (event) => {
            event.preventDefault();
            const key = byId('key').value.trim();
            if (key === '') return;
            byId('key-submit').disabled = true;
            const reason = await tryKey(key, byId('remember-key').checked);
            byId('key-submit').disabled = false;
            isAccepted = reason === '';
            if (isAccepted) {
                dialog.close();
                return;
            }
            showError(reason);
            byId('key').value = '';
            byId('key').focus();
        }, { signal });
        dialog.querySelector('.close').addEventListener('click', () => dialog.close(), { signal });
        dialog.addEventListener('close', () => {
            closing.abort();
            asking = null;
            byId('key').value = '';
            resolve(isAccepted);
        }, { signal });
        dialog.showModal();
    });
    return asking;
}

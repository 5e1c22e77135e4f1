// The two dialogs: the settings, and the API key when the server wants one.

import { t } from './i18n.js';
import { defaults } from './store.js';

const byId = (id) => document.getElementById(id);

/** Opens a dialog; `accept` is called when its form is submitted, `close` always at its end. */
function open(dialog, { accept, close = () => {} }) {
    const form = dialog.querySelector('form');
    const closing = new AbortController();
    const { signal } = closing;
    form.addEventListener('submit', (event) => {
        event.preventDefault();
        accept();
        dialog.close();
    }, { signal });
    dialog.querySelector('.close').addEventListener('click', () => dialog.close(), { signal });
    dialog.addEventListener('click', (event) => {
        if (event.target === dialog) dialog.close(); // the backdrop: the form covers the rest
    }, { signal });
    dialog.addEventListener('close', () => {
        closing.abort();
        close();
    }, { signal });
    dialog.showModal();
}

function show(settings) {
    byId('temperature').value = settings.temperature;
    byId('temperature-value').textContent = Number(byId('temperature').value).toFixed(1);
    byId('max-tokens').value = settings.maxTokens;
    byId('system').value = settings.system;
}

export function editSettings(settings, accept) {
    show(settings);
    byId('temperature').oninput = () => {
        byId('temperature-value').textContent = Number(byId('temperature').value).toFixed(1);
    };
    byId('reset-settings').onclick = () => show(defaults);
    open(byId('settings'), {
        accept: () => accept({
            temperature: Number(byId('temperature').value),
            maxTokens: Number(byId('max-tokens').value),
            system: byId('system').value.trim(),
        }),
    });
}

let asking = null;

/** Asks for the key: returns a promise of it, or of '' if the user cancels. One dialog at a time. */
export function askForKey(wrong) {
    asking ??= new Promise((resolve) => {
        let key = '';
        byId('key').value = '';
        byId('key-help').textContent = t(wrong ? 'keyWrong' : 'keyHelp');
        open(byId('key-dialog'), {
            accept: () => {
                key = byId('key').value.trim();
            },
            close: () => {
                asking = null;
                resolve(key);
            },
        });
    });
    return asking;
}

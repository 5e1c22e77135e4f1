// The fields of the settings in which the user writes prompts of his own.

import { button, byId, element } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { MAX_NAME, MAX_PROMPTS, MAX_TEXT, ownPrompts, saveOwnPrompts } from '../base/prompts.js';

function field(tag, label, value, maxLength) {
    const input = element(tag, '');
    input.value = value;
    input.maxLength = maxLength;
    input.dir = 'auto';
    input.setAttribute('aria-label', t(label));
    input.placeholder = t(label);
    return input;
}

/** Fills the list with the user's prompts. Returns {save}, which keeps those that are complete. */
export function editPrompts() {
    const list = byId('own-prompts-list');
    const add = byId('add-prompt');
    const rows = new Map(); // element -> its fields
    const update = () => {
        add.disabled = rows.size >= MAX_PROMPTS;
    };
    const append = ({ name, text }) => {
        const fields = {
            name: field('input', 'promptName', name, MAX_NAME),
            text: field('textarea', 'promptText', text, MAX_TEXT),
        };
        fields.text.rows = 2;
        const remove = button('round', { iconName: 'remove', label: t('removePrompt') }, () => {
            rows.delete(row);
            row.remove();
            update();
            add.focus();
        });
        const row = element('div', 'own-prompt field', fields.name, remove, fields.text);
        rows.set(row, fields);
        list.append(row);
        update();
        return fields;
    };
    list.replaceChildren();
    for (const prompt of ownPrompts()) append(prompt);
    update();
    add.onclick = () => append({ name: '', text: '' }).name.focus();
    return {
        save() {
            const prompts = [...rows.values()]
                .map(({ name, text }) => ({ name: name.value.trim(), text: text.value }))
                .filter(({ name, text }) => name !== '' && text.trim() !== '');
            saveOwnPrompts(prompts);
        },
    };
}

// The dialog of the settings: of this chat or of new chats, own prompts, and the language of the page.

import { byId } from '../base/dom.js';
import { chooseLanguage, fillLanguages, number } from '../base/i18n.js';
import {
    defaults, differences, modelCanThink, modelNames, modelNews, ownSettings, saveNewChatSettings, settingsOf,
} from '../answering/settings.js';
import { openDialog } from './dialog.js';
import { editPrompts } from './prompt_fields.js';
import { hasSingleKeys, setSingleKeys } from './shortcuts.js';

const NUMBERS = {
    temperature: 'temperature', maxTokens: 'max-tokens', topP: 'top-p', topK: 'top-k',
    repetitionPenalty: 'repetition-penalty',
};

function showTemperature() {
    const { value, disabled } = byId('temperature');
    byId('temperature-value').textContent = disabled ? '' : number(Number(value), 1);
}

/** Shows the models where there are several; one that is gone counts as the default, ''. */
function showModel(name) {
    const names = modelNames();
    const options = names.map((one, i) => new Option(one, i === 0 ? '' : one));
    byId('model-choice').replaceChildren(...options);
    byId('model-choice').value = names.indexOf(name) > 0 ? name : '';
    byId('model-choice').parentElement.hidden = names.length < 2;
}

/** Another model brings its own defaults; what the user has changed stays. */
function changeModel(before) {
    const chosen = differences(shown(), { ...defaults(before), model: '' });
    show({ ...defaults(chosen.model), ...chosen });
    return byId('model-choice').value;
}

function show(settings) {
    // what neither the server nor the user has said stays empty, and is not sent
    for (const [name, id] of Object.entries(NUMBERS)) byId(id).value = settings[name] ?? '';
    byId('temperature').disabled = settings.temperature === undefined; // a slider cannot be empty
    byId('system').value = settings.system;
    byId('loop-guard').checked = settings.loopGuard;
    byId('thinking').checked = settings.thinking;
    byId('thinking').parentElement.hidden = !modelCanThink(settings.model);
    showModel(settings.model);
    showTemperature();
}

function shown() {
    const numbers = Object.entries(NUMBERS).filter(([, id]) => byId(id).value !== '' && !byId(id).disabled);
    return {
        model: byId('model-choice').value,
        ...Object.fromEntries(numbers.map(([name, id]) => [name, Number(byId(id).value)])),
        system: byId('system').value.trim(),
        loopGuard: byId('loop-guard').checked,
        thinking: byId('thinking').checked,
    };
}

// a field that keeps the form from being saved has to be seen
byId('settings').addEventListener('invalid', ({ target }) => {
    const folded = target.closest('details');
    if (folded) folded.open = true;
}, true);

/** Lets the user change the settings; `conversation` is the chat that is shown. */
export function editSettings(conversation) {
    const { chat } = conversation;
    const ofScope = {
        chat: () => settingsOf(chat),
        all: () => settingsOf({}),
    };
    let model; // that is shown
    let kept; // what the form showed before the user changed it
    const showAll = (settings) => {
        show(settings);
        model = byId('model-choice').value;
    };
    const scope = () => (byId('scope-chat').checked ? 'chat' : 'all');
    const showScope = () => {
        showAll(ofScope[scope()]());
        kept = shown();
    };
    const learn = () => {
        const changed = differences(shown(), kept);
        showScope();
        showAll({ ...shown(), ...changed });
    };
    byId(conversation.isEmpty ? 'scope-all' : 'scope-chat').checked = true;
    for (const id of ['scope-chat', 'scope-all']) {
        byId(id).onchange = showScope;
    }
    byId('temperature').oninput = showTemperature;
    byId('model-choice').onchange = () => { model = changeModel(model); };
    byId('reset-settings').onclick = () => showAll(defaults());
    const language = fillLanguages(byId('language'));
    const prompts = editPrompts();
    byId('single-keys').checked = hasSingleKeys();
    showScope();
    openDialog(byId('settings'), {
        accept: () => {
            if (scope() === 'all') saveNewChatSettings(differences(shown(), { ...defaults(model), model: '' }));
            else conversation.changeChat({ settings: ownSettings(shown()) });
            prompts.save();
            setSingleKeys(byId('single-keys').checked);
            if (byId('language').value !== language) chooseLanguage(byId('language').value || null);
        },
        close: () => modelNews.removeEventListener('learn', learn),
    });
    modelNews.addEventListener('learn', learn);
}

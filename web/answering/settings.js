// The settings of answers: those of a chat, or, until its first question makes them its own, those of
// new chats, which the browser keeps; below both the defaults of the model, which the server tells. The
// upper ones hold only what the user has chosen, so that another model brings its own defaults.

const NAME = 'kinglet.settings';
const MODEL = 'kinglet.model';

const isText = (value) => typeof value === 'string';
const isSwitch = (value) => typeof value === 'boolean';
const isWithin = (least, most) => (value) => (
    typeof value === 'number' && value >= least && value <= most);

/** The settings: whether a stored value can be one, and the fields of a request. */
const KINDS = {
    model: { isValid: isText },
    system: { isValid: isText },
    temperature: { isValid: isWithin(0, 2), field: 'temperature' },
    maxTokens: { isValid: isWithin(1, 1e6), field: 'max_tokens' },
    topP: { isValid: isWithin(0, 1), field: 'top_p' },
    topK: { isValid: isWithin(0, 1e6), field: 'top_k' },
    repetitionPenalty: { isValid: isWithin(1, 2), field: 'repetition_penalty' },
    loopGuard: { isValid: isSwitch },
    thinking: { isValid: isSwitch },
};

// How long an answer may be, and whether it ends when it only repeats itself, is no matter of the model.
const OWN = { model: '', system: '', maxTokens: 1024, loopGuard: true, thinking: true };

function checked(values) {
    const names = Object.keys(KINDS).filter((name) => KINDS[name].isValid(values?.[name]));
    return Object.fromEntries(names.map((name) => [name, values[name]]));
}

function read(name) {
    try {
        return JSON.parse(localStorage.getItem(name));
    } catch {
        return null;
    }
}

function write(name, value) {
    try {
        localStorage.setItem(name, JSON.stringify(value));
    } catch {
        // storage is forbidden: it is kept as long as the page
    }
}

let ofNewChats = checked(read(NAME));
let ofModel = checked(read(MODEL)); // of the last visit, until the server tells
let models = []; // as the server tells of them, the default first

/** Dispatches `learn` when the server has told of its models. */
export const modelNews = new EventTarget();

addEventListener('storage', ({ key }) => {
    if (key === NAME) ofNewChats = checked(read(NAME));
});

/** Returns what the makers of a model advise: an entry of /v1/models. */
function adviceOf(model) {
    const told = model?.meta?.sampling ?? {};
    const entries = Object.entries(KINDS).filter(([, { field }]) => field in told);
    return checked(Object.fromEntries(entries.map(([name, { field }]) => [name, told[field]])));
}

/** Takes over what the server tells of its models, the default first: the entries of /v1/models. */
export function learnModels(told) {
    models = told;
    ofModel = adviceOf(models[0]);
    write(MODEL, ofModel);
    modelNews.dispatchEvent(new Event('learn'));
}

const canAnswer = (meta) => meta?.capabilities?.includes('completion') ?? true;

/** Returns the names of the models among which the user can choose: each once, without aliases. */
export const modelNames = () => {
    const files = new Map();
    for (const { id, meta } of models) {
        if (canAnswer(meta) && !files.has(meta?.file)) files.set(meta?.file, id);
    }
    return [...files.values()];
};

const modelNamed = (name) => models.find(({ id }) => id === name);

/** Returns whether a model thinks before it answers, and can leave that out. */
export const modelCanThink = (name) => (modelNamed(name) ?? models[0])?.meta?.thinking === true;

/** Returns the settings of which the user has chosen nothing, for a model; '': the server's default. */
export const defaults = (name = '') => ({
    ...OWN, ...(modelNamed(name) ? adviceOf(modelNamed(name)) : ofModel),
});

export function saveNewChatSettings(settings) {
    ofNewChats = checked(settings);
    write(NAME, ofNewChats);
}

/** Returns those settings that are not as in `base`. */
export const differences = (settings, base) => Object.fromEntries(
    Object.entries(checked(settings)).filter(([name, value]) => value !== base[name]),
);

/** Returns all settings of a chat. Until it has its own they are those of new chats. */
export const settingsOf = ({ settings }) => {
    const chosen = { ...(settings?.isOwn ? {} : ofNewChats), ...checked(settings) };
    return { ...defaults(chosen.model), ...chosen };
};

/** Returns the settings that a chat keeps, from all of them; of those of a model its name. */
export const ownSettings = (all) => ({
    ...differences(all, { ...defaults(all.model), model: '' }), isOwn: true,
});

/** Returns the fields of a request that follow from settings. */
export function requestFields(settings) {
    const fields = { loop_guard: settings.loopGuard ? 'on' : 'off' };
    // one that the server has no more is not asked for; which it has may not be known yet
    const isHere = models.length === 0 || modelNamed(settings.model);
    if (settings.model !== '' && isHere) fields.model = settings.model;
    if (modelCanThink(settings.model) && !settings.thinking) fields.chat_template_kwargs = { enable_thinking: false };
    for (const [name, { field }] of Object.entries(KINDS)) {
        if (field && settings[name] !== undefined) fields[field] = settings[name];
    }
    return fields;
}

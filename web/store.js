// The storage of the page. The conversation and the key are kept as long as the tab; settings stay.
// A browser may forbid storage: then everything works, but is lost on reload.

function access(area, action) {
    try {
        return action(area());
    } catch {
        return null;
    }
}

function load(area, name) {
    return access(area, (storage) => JSON.parse(storage.getItem(`kinglet.${name}`)));
}

function save(area, name, value) {
    access(area, (storage) => storage.setItem(`kinglet.${name}`, JSON.stringify(value)));
}

const tab = () => sessionStorage;
const lasting = () => localStorage;

export const defaults = Object.freeze({ temperature: 0.7, maxTokens: 1024, system: '' });

export function loadSettings() {
    const stored = load(lasting, 'settings') ?? {};
    const { temperature, maxTokens, system } = stored;
    const settings = { ...defaults };
    if (temperature >= 0 && temperature <= 2) settings.temperature = temperature;
    if (maxTokens >= 1) settings.maxTokens = maxTokens;
    if (typeof system === 'string') settings.system = system;
    return settings;
}

export function saveSettings(settings) {
    save(lasting, 'settings', settings);
}

export function loadKey() {
    const key = load(tab, 'key');
    return typeof key === 'string' ? key : '';
}

export function saveKey(key) {
    save(tab, 'key', key);
}

export function loadConversation() {
    const stored = load(tab, 'conversation');
    if (!Array.isArray(stored)) return [];
    return stored.filter((m) => ['user', 'assistant'].includes(m?.role)
        && typeof m.content === 'string');
}

export function saveConversation(messages) {
    save(tab, 'conversation', messages);
}

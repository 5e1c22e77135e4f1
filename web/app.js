// The page: its parts, and what connects them.

import { Answering } from './answering/answering.js';
import { learnModels, ownSettings, settingsOf } from './answering/settings.js';
import { copyText } from './base/copy.js';
import { byId, nextTask, say } from './base/dom.js';
import { keepPage } from './base/keep_page.js';
import { loadLanguage, number, t, translate } from './base/i18n.js';
import { connectRail } from './chat_actions.js';
import { Chats } from './chats/chats.js';
import { openDatabase } from './chats/database.js';
import { importFormerChat } from './chats/former.js';
import { History } from './chats/history.js';
import { Access } from './connection/access.js';
import { fetchModels } from './connection/api.js';
import { prepareWorker } from './connection/completion.js';
import { ServerState } from './connection/server_state.js';
import { BoxDialog } from './dialogs/box_dialog.js';
import { editSettings } from './dialogs/settings_dialog.js';
import { Shortcuts } from './dialogs/shortcuts.js';
import { copyFormulas } from './markdown/formulas.js';
import { GrowingMarkdown } from './markdown/growing.js';
import { Navigation } from './navigation.js';
import { Attachments } from './view/attachments.js';
import { Composer } from './view/composer.js';
import { ConnectionView } from './view/connection_view.js';
import { Gauge, usageOf } from './view/gauge.js';
import { Log } from './view/log.js';
import { PromptList } from './view/prompt_list.js';
import { stopReading } from './view/read_aloud.js';
import { renderAll, renderVisible } from './view/render_queue.js';
import { Scroller } from './view/scroller.js';
import { markTitle, setTitle } from './view/tab_title.js';
import { fillWelcome } from './view/welcome.js';
import { describeError, describeFigures, describeProgress } from './view/words.js';

const IDLE_MS = 300; // after the page was opened
const ORPHANS_MS = 5000; // an answer whose tab is gone is found that soon

await loadLanguage();
translate();
const database = await openDatabase();

const server = new ServerState();
const access = new Access(server);
access.takeFromAddress();

/** Asks the user for the key; false if there is none that is accepted. */
const obtainKey = () => access.obtain();

const answering = new Answering({ server, obtainKey });
const chats = new Chats(database, answering);
const navigation = new Navigation(chats);
const history = new History(chats, {
    isGrowing: () => navigation.shown !== null && chats.isWrittenAfar(navigation.shown),
});
const scroller = new Scroller(byId('scroller'), byId('to-latest'), byId('log'));
const log = new Log({
    scroller, isBusy,
    onAgain: (answer) => ask(navigation.shown.message(answer.parent)),
    onContinue: goOn,
    onAnswer: ask,
    onEdit: edit,
});
const gauge = new Gauge();
// before the composer, so that it gets the keys first
new PromptList({ onChoose: (text) => composer.write(text) });
const attachments = new Attachments({
    server,
    onChange: (draftFiles) => {
        composer.setHasFiles(draftFiles.length > 0);
        navigation.shown.changeChat({ draftFiles });
    },
});
const composer = new Composer({
    onSend: send,
    onStop: () => chats.stop(navigation.shown),
    onChange: (draft) => navigation.shown.changeChat({ draft }),
});
const { startNew } = connectRail({
    chats, database, history, navigation, composer,
    onFound: (message) => {
        const { shown } = navigation;
        shown.reveal(shown.message(message.id));
        log.find(message);
    },
});

/** Whether an answer of the conversation is being written, by this tab or another. */
function isBusy(conversation) {
    return chats.isRunning(conversation.id);
}

function showFiles(files) {
    attachments.set(files);
    composer.setHasFiles(files.length > 0);
}

function updateControls() {
    const { shown } = navigation;
    composer.setBusy(isBusy(shown));
    composer.setHint(shown.chat.isPrivate ? 'private' : 'hint');
    byId('welcome').hidden = !shown.isEmpty;
    byId('new-chat').disabled = shown.isEmpty;
    const usage = usageOf(shown);
    gauge.show({ ...usage, size: server.contextSize });
    log.showReadsFrom(usage.readsFrom);
    navigation.update();
    setTitle(shown.chat.title === '' ? 'kinglet' : `${shown.chat.title} · kinglet`);
}

function show(conversation) {
    stopReading();
    log.open(conversation);
    composer.setText(conversation.chat.draft);
    showFiles(conversation.chat.draftFiles ?? []);
    chats.setUnseen(conversation.id, false);
    updateControls();
    conversation.addEventListener('change', onChange);
    settleOrphans(conversation);
}

function onChange({ currentTarget, detail: { message, isRemote } }) {
    if (currentTarget !== navigation.shown) {
        currentTarget.removeEventListener('change', onChange);
    } else if (!message) {
        log.update();
        updateControls();
    } else if (isRemote) {
        log.view(message)?.refresh?.(); // a question never changes
    }
}

/** Reads on in answers that nothing writes any more, or gives them an end. */
async function settleOrphans(conversation) {
    for (const message of await chats.orphans(conversation)) {
        if (message.answerId && !answering.isRunning(conversation)) {
            answering.resume(conversation, message);
            continue;
        }
        conversation.interrupt(message);
        if (conversation === navigation.shown) log.view(message)?.settle();
    }
    if (conversation === navigation.shown) updateControls();
}

async function send(text) {
    const conversation = navigation.shown;
    if (conversation.isEmpty) {
        conversation.changeChat({ settings: ownSettings(settingsOf(conversation.chat)) });
    }
    const files = attachments.files.map(({ name, text: own, tokens }) => ({ name, text: own, tokens }));
    const question = conversation.add({
        role: 'user', content: text, ...(files.length > 0 ? { files } : {}),
    });
    if (files.length > 0) {
        showFiles([]);
        conversation.changeChat({ draftFiles: [] });
    }
    scroller.toEnd();
    composer.focus();
    await nextTask(); // the question is seen first
    answering.ask(conversation, question); // even if another tab asks meanwhile
}

/** Answers a question of the chat that is shown, in a new version if it has an answer. */
function ask(question) {
    const conversation = navigation.shown;
    composer.focus();
    if (!isBusy(conversation)) answering.ask(conversation, question);
}

/** Makes a new version of a message: a question is answered, an answer can be continued. */
function edit(message, text) {
    const { parent, role, files } = message;
    const state = role === 'user' ? {} : { state: 'stopped', isEdited: true };
    const version = navigation.shown.add({
        parent, role, content: text, ...files ? { files } : {}, ...state,
    });
    if (role === 'user') ask(version);
}

/** Goes on in an answer that has ended early. */
function goOn(answer) {
    const conversation = navigation.shown;
    if (isBusy(conversation)) return;
    composer.focus();
    log.view(answer)?.reopen();
    answering.continue(conversation, answer);
}

const openSettings = () => editSettings(navigation.shown);

async function copyLastAnswer() {
    const answer = navigation.shown.path().findLast(({ role }) => role === 'assistant');
    if (answer) say(t(await copyText(answer.content) ? 'copied' : 'notCopied'));
}

let learned = ''; // the model whose settings are known

/** Learns which models there are, and what their makers advise, whenever the default is another. */
async function learn() {
    const name = server.isAnswering ? server.state.health.model : learned;
    if (name === learned) return;
    learned = name;
    await fetchModels().then(learnModels).catch(() => { learned = ''; });
}

function announceEnd(message) {
    if (message.state === 'stopped') say(t('stopped'));
    else say(t('answered', { text: log.view(message)?.spoken ?? '' }));
}

let lastPlace; // in the queue, as last announced

/** Does for the first time what takes long then: before an answer waits for it. */
async function prepare() {
    number(0);
    await nextTask();
    prepareWorker();
    new GrowingMarkdown(document.createElement('div')).finish('**a** `b`');
}

function listen() {
    server.addEventListener('change', () => {
        updateControls();
        learn();
    });
    answering.addEventListener('change', ({ detail }) => {
        const { conversation, message } = detail;
        if (!answering.isRunning(conversation) && conversation !== navigation.shown) {
            chats.setUnseen(conversation.id, true);
        }
        markTitle({ isWriting: answering.isAnyRunning });
        if (conversation !== navigation.shown) return;
        log.update();
        updateControls();
        if (answering.isRunning(conversation)) log.view(message)?.progress(t('connecting'));
    });
    answering.addEventListener('progress', ({ detail }) => {
        const view = log.view(detail.message);
        if (!view) return;
        const text = describeProgress(detail.progress);
        view.progress(text);
        // each percent and each second would be too much to listen to
        const { place, isLost } = detail.progress;
        if ((place !== undefined && place !== lastPlace) || isLost) say(text);
        lastPlace = place;
    });
    answering.addEventListener('grow', ({ detail }) => log.view(detail.message)?.grow());
    answering.addEventListener('figures', ({ detail }) => {
        log.view(detail.message)?.figures(describeFigures(detail.figures));
    });
    answering.addEventListener('end', ({ detail: { message, error } }) => {
        log.view(message)?.settle(error ? describeError(error) : '');
        markTitle({ isWriting: answering.isAnyRunning, isDone: !error });
        if (!error) setTimeout(() => announceEnd(message));
    });
    document.addEventListener('keydown', (event) => {
        const isElsewhere = event.isComposing || document.querySelector('dialog[open]');
        if (event.key === 'Escape' && !isElsewhere) chats.stop(navigation.shown);
    });
    document.addEventListener('copy', copyFormulas);
    addEventListener('beforeprint', () => {
        byId('log').dataset.title = navigation.shown.chat.title;
        log.showAll();
        renderAll();
    });
    byId('log').addEventListener('contentvisibilityautostatechange', renderVisible, true);
    byId('skip').addEventListener('click', (event) => {
        event.preventDefault(); // the address names the chat
        composer.focus();
    });
    byId('new-chat').addEventListener('click', startNew);
    byId('open-settings').addEventListener('click', openSettings);
    const shortcuts = new Shortcuts({
        newChat: startNew,
        settings: openSettings,
        focus: () => composer.focus(),
        copyLast: copyLastAnswer,
    });
    byId('open-shortcuts').addEventListener('click', () => {
        byId('settings').close();
        shortcuts.open();
    });
    document.addEventListener('visibilitychange', () => navigation.shown.flush());
    setInterval(() => settleOrphans(navigation.shown), ORPHANS_MS);
    composer.start();
}

fillWelcome({
    onChoose: (text) => {
        composer.focus();
        send(text);
    },
});
await importFormerChat(chats);
await chats.load();
const box = new BoxDialog({ server, access });
new ConnectionView({ server, onKey: obtainKey, onBox: () => box.open() });
navigation.addEventListener('show', ({ detail }) => show(detail.conversation));
await navigation.start();
listen();
history.pull();
keepPage();
setTimeout(prepare, IDLE_MS);

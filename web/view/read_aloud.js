// Answers read aloud, by voices on the device itself: others would send the text to a company.

import { button } from '../base/dom.js';
import { t } from '../base/i18n.js';
import { icon } from '../base/icons.js';

const PIECE = 200; // characters: Chromium falls silent in the middle of longer texts
const SENTENCE = /[^.!?。！？\n]+[.!?。！？\n]*/g;
// letters of a language other than the page's
const SCRIPTS = [['zh', /[\u4e00-\u9fff]/], ['ja', /[\u3040-\u30ff]/], ['ar', /[\u0600-\u06ff]/],
    ['ko', /[\uac00-\ud7af]/], ['ru', /[\u0400-\u04ff]/]];

const speech = window.speechSynthesis;
let speaking = null; // {end}: what is read

const localVoices = () => speech?.getVoices().filter(({ localService }) => localService) ?? [];

function languageOf(text) {
    const scripts = SCRIPTS.filter(([, letters]) => letters.test(text)).map(([name]) => name);
    if (scripts.includes('ja')) return 'ja';
    return scripts[0] ?? document.documentElement.lang.split('-')[0];
}

function voiceFor(text) {
    const language = languageOf(text);
    const voices = localVoices();
    return voices.find(({ lang }) => lang.toLowerCase().startsWith(language)) ?? voices[0];
}

/** Returns the text in pieces that end with a sentence where they can. */
function piecesOf(text) {
    const pieces = [''];
    for (const sentence of text.match(SENTENCE) ?? []) {
        for (let rest = sentence; rest !== ''; rest = rest.slice(PIECE)) {
            const part = rest.slice(0, PIECE);
            if (pieces.at(-1).length + part.length > PIECE) pieces.push('');
            pieces[pieces.length - 1] += part;
        }
    }
    return pieces.filter((piece) => piece.trim() !== '');
}

/** Stops what is read. */
export function stopReading() {
    if (speaking === null) return;
    const { end } = speaking;
    speaking = null;
    speech.cancel();
    end();
}

function read(text, end) {
    stopReading();
    const voice = voiceFor(text);
    const own = { end };
    const pieces = piecesOf(text);
    if (!voice || pieces.length === 0) {
        end();
        return;
    }
    speaking = own;
    pieces.forEach((piece, i) => {
        const utterance = new SpeechSynthesisUtterance(piece);
        utterance.voice = voice;
        utterance.lang = voice.lang;
        const finish = () => {
            if (speaking === own) stopReading();
        };
        utterance.onerror = finish;
        if (i === pieces.length - 1) utterance.onend = finish;
        speech.speak(utterance);
    });
}

/** Shows the buttons if there is a voice: some browsers know theirs only after a while. */
function showButtons() {
    document.documentElement.classList.toggle('has-voice', localVoices().length > 0);
}

showButtons();
speech?.addEventListener?.('voiceschanged', showButtons);
addEventListener('pagehide', stopReading);

/** Returns a button that reads `text()`, and stops at a second press. */
export function readAloudButton(text) {
    const node = button('speak quiet', {});
    const show = (isReading) => {
        const label = t(isReading ? 'stopReading' : 'readAloud');
        node.replaceChildren(icon(isReading ? 'stop' : 'speak'));
        node.setAttribute('aria-label', label);
        node.title = label;
    };
    let isReading = false;
    node.addEventListener('click', () => {
        if (isReading) {
            stopReading();
            return;
        }
        isReading = true;
        show(true);
        read(text(), () => {
            isReading = false;
            show(false);
        });
    });
    show(false);
    return node;
}

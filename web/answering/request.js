// The request for an answer: the path of a chat up to it.

import { textOf } from './files.js';
import { requestFields, settingsOf } from './settings.js';

/** Returns the messages of the path up to `message` that the model gets, the first one first. */
const turnsOf = (conversation, message) =>
    conversation.path(message.id).filter((one) => textOf(one) !== '');

/** Returns the request for an answer; one that has a text already is continued. */
export function requestOf(conversation, answer) {
    const settings = settingsOf(conversation.chat);
    const system = settings.system === '' ? [] : [{ role: 'system', content: settings.system }];
    const turns = turnsOf(conversation, answer)
        .map((message) => ({ role: message.role, content: textOf(message) }));
    const request = {
        messages: [...system, ...turns], context_policy: 'trim', ...requestFields(settings),
    };
    if (answer.content !== '') request.continue_final_message = true;
    return request;
}

/** Returns the ID of the first message that the model reads if the server leaves out the first ones. */
export function firstRead(conversation, answer, leftOut) {
    return turnsOf(conversation, answer)[leftOut]?.id ?? null;
}

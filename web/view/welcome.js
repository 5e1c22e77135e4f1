// The empty page: a greeting, and questions to begin with.

import { button, byId, element } from '../base/dom.js';
import { texts } from '../base/i18n.js';

export function fillWelcome({ onChoose }) {
    byId('examples').append(...texts('examples').map((text) => element('li', '',
        button('', { text }, () => onChoose(text)))));
}

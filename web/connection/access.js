// How the page gets a key that the server accepts: from its address, or from the user.

import { t } from '../base/i18n.js';
import { askForKey } from '../dialogs/key_dialog.js';
import { currentKey, isKeyRemembered, setKey, takeKeyFromAddress } from './key.js';

export class Access {
    #server;

    /** `server`: a ServerState. */
    constructor(server) {
        this.#server = server;
        window.addEventListener('hashchange', () => this.takeFromAddress());
        // asked once by itself: after Cancel there is a button in the header
        const ask = () => {
            const { name } = server.state;
            if (name === 'keyNeeded' || name === 'keyWrong') this.obtain();
            else if (name === 'connecting' || name === 'offline') return;
            server.removeEventListener('change', ask);
        };
        server.addEventListener('change', ask);
    }

    /** Asks the user for the key; a promise of whether there is one that is accepted. */
    obtain({ offered = '' } = {}) {
        const isWrong = currentKey() !== '' && offered === '';
        return askForKey({
            tryKey: (key, isRemembered) => this.#try(key, isRemembered),
            error: isWrong ? t('keyWrong') : '', offered,
        });
    }

    /**
     * Takes the key of the address, which stays on this device: the address was made for it. One that
     * replaces another needs the user's word: a link of another person must not change whose chats these
     * are.
     */
    takeFromAddress() {
        const given = takeKeyFromAddress();
        if (given === '' || given === currentKey()) return;
        if (currentKey() !== '') {
            this.obtain({ offered: given });
            return;
        }
        setKey(given, { isRemembered: true });
        this.#server.probeAgain();
    }

    async #try(key, isRemembered) {
        const before = { key: currentKey(), isRemembered: isKeyRemembered() };
        setKey(key, { isRemembered });
        const name = await this.#server.probeAgain();
        if (name !== 'keyWrong' && name !== 'offline') return '';
        setKey(before.key, before);
        return t(name === 'keyWrong' ? 'keyWrong' : 'errorUnreachable');
    }
}

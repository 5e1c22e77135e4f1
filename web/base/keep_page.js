// Lets the browser keep the files of the page, so that it opens, with the chats of this browser, while
// the server is away.

/** Registers the service worker. Over plain http in a network browsers have none. */
export function keepPage() {
    if (!window.isSecureContext || !('serviceWorker' in navigator)) return;
    // some private windows refuse: the page works as well without
    navigator.serviceWorker.register('service_worker.js', { updateViaCache: 'none' }).catch(() => {});
}

// The common part of all dialogs.

/** Opens a dialog; `accept` is called when its form is submitted, `close` always at its end. */
export function openDialog(dialog, { accept, close = () => {} }) {
    const form = dialog.querySelector('form');
    const closing = new AbortController();
    const { signal } = closing;
    form.addEventListener('submit', (event) => {
        event.preventDefault();
        accept();
        dialog.close();
    }, { signal });
    dialog.querySelector('.close').addEventListener('click', () => dialog.close(), { signal });
    dialog.addEventListener('click', (event) => {
        if (event.target === dialog) dialog.close(); // the backdrop: the form covers the rest
    }, { signal });
    dialog.addEventListener('close', () => {
        closing.abort();
        close();
    }, { signal });
    dialog.showModal();
}

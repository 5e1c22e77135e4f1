// Marks in the title of the tab: an answer is being written, or was finished while the tab was hidden.

const WRITING = '✎ ';
const DONE = '✓ ';

let title = document.title;
let mark = '';

const show = () => {
    const text = mark + title;
    if (document.title !== text) document.title = text;
};

document.addEventListener('visibilitychange', () => {
    if (!document.hidden && mark === DONE) {
        mark = '';
        show();
    }
});

/** Sets the title without its mark. */
export function setTitle(text) {
    title = text;
    show();
}

/** Sets the mark: whether an answer is being written, and whether one has just been finished. */
export function markTitle({ isWriting, isDone = false }) {
    if (isWriting) mark = WRITING;
    else if (isDone && document.hidden) mark = DONE;
    else if (mark === WRITING) mark = '';
    show();
}

// How often a growing answer is drawn.

// Drawing gets at most a quarter of the time, so that a slow phone stays responsive.
const REST_PER_WORK = 3;
// Where the same computer writes the answer, a frame is painted late, which is waiting and no work.
const LONGEST_REST_MS = 240;

/**
 * Calls `draw()` after each request(), as often as its cost allows, and not while the page is hidden.
 *
 * It draws before a frame and not in it: two short tasks keep the page from answering less than a long
 * one, and the event of what it scrolls belongs to the same frame, where it would need one of its own.
 */
export class Pace {
    #draw;
    #timer = 0;
    #notBefore = 0;
    #isWanted = false;
    #isPainting = false; // from the drawing until its frame is painted

    constructor(draw) {
        this.#draw = draw;
    }

    request() {
        this.#isWanted = true;
        if (this.#timer === 0 && !this.#isPainting) this.#wait();
    }

    /** Forgets what was requested. */
    cancel() {
        clearTimeout(this.#timer);
        this.#timer = 0;
        this.#isWanted = false;
    }

    #wait() {
        this.#timer = setTimeout(() => this.#work(), Math.max(0, this.#notBefore - performance.now()));
    }

    #work() {
        this.#timer = 0;
        this.#isWanted = false;
        this.#isPainting = true;
        const start = performance.now();
        this.#draw();
        const drawn = performance.now();
        requestAnimationFrame(() => {
            const begin = performance.now();
            setTimeout(() => this.#rest(drawn - start + performance.now() - begin)); // it is painted then
        });
    }

    #rest(work) {
        this.#isPainting = false;
        this.#notBefore = performance.now() + Math.min(REST_PER_WORK * work, LONGEST_REST_MS);
        if (this.#isWanted) this.#wait();
    }
}

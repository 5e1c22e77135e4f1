// Automatic scrolling.

const NEAR_END_PX = 40;

/** Follows the growing text until the reader scrolls away, and again once back at the end. */
export class Scroller {
    #view;
    #button;
    #following = true;
    #top = 0;

    /** `content`: what grows inside the view. */
    constructor(view, button, content) {
        this.#view = view;
        this.#button = button;
        view.addEventListener('scroll', () => this.#scrolled(), { passive: true });
        button.addEventListener('click', () => this.toEnd());
        // all that grows is laid out by then: to ask for its height before would do it twice
        const sizes = new ResizeObserver(() => this.follow());
        sizes.observe(view);
        sizes.observe(content);
    }

    toEnd() {
        this.#following = true;
        requestAnimationFrame(() => this.follow()); // when all is laid out anyway
    }

    /** Scrolls to the end, unless the reader has scrolled away. */
    follow() {
        if (this.#following) this.#view.scrollTop = this.#view.scrollHeight;
        this.#remember();
    }

    #remember() {
        this.#top = this.#view.scrollTop;
        this.#button.hidden = this.#following || this.#distance() < NEAR_END_PX;
    }

    #distance() {
        return this.#view.scrollHeight - this.#view.clientHeight - this.#view.scrollTop;
    }

    #scrolled() {
        // Growing text never lowers scrollTop: if it is lower, the reader has scrolled, or a message that
        // came into view was smaller than guessed, which leaves the view at its end.
        const up = this.#top - this.#view.scrollTop;
        const distance = this.#distance();
        if (distance <= 1 || (up <= 0 && distance < NEAR_END_PX)) this.#following = true;
        else if (up > 1) this.#following = false;
        this.#remember();
    }
}

#include "api/thought_reader.h"

#include <string.h>

static const char open_mark[] = "<think>", close_mark[] = "</think>";

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void kl_thought_reader_init(struct kl_thought_reader *r, bool opened)
{
    *r = (struct kl_thought_reader){.place = opened ? KL_THOUGHT_OPENED : KL_THOUGHT_BEFORE};
}

static bool is_thought(const struct kl_thought_reader *r)
{
    return r->place == KL_THOUGHT_OPENED || r->place == KL_THOUGHT_INSIDE;
}

static enum kl_status release(struct kl_thought_reader *r, kl_thought_sink *sink, void *context)
{
    size_t n = r->n_held;
    r->n_held = 0;
    return n > 0 ? sink(context, is_thought(r), r->held, n) : KL_OK;
}

/* Reads one byte that may belong to a mark. Returns false if it is plain text. */
static bool take(struct kl_thought_reader *r, char c)
{
    const char *mark = is_thought(r) ? close_mark : open_mark;
    size_t blanks = 0;
    if ((r->place == KL_THOUGHT_OPENED || r->place == KL_THOUGHT_CLOSED) && is_blank(c) &&
        r->n_held == 0)
        return true;
    if (r->place == KL_THOUGHT_CLOSED || r->place == KL_THOUGHT_IN_TEXT ||
        r->n_held == KL_THOUGHT_HELD)
        return false;
    while (r->place == KL_THOUGHT_BEFORE && blanks < r->n_held && is_blank(r->held[blanks]))
        blanks++;
    size_t n = r->n_held - blanks; /* bytes of the mark so far */
    bool leads = r->place == KL_THOUGHT_BEFORE && n == 0 && is_blank(c);
    if (!leads && c != mark[n])
        return false;
    r->held[r->n_held++] = c;
    if (!leads && mark[n + 1] == '\0') {
        r->n_held = 0;
        r->place = is_thought(r) ? KL_THOUGHT_CLOSED : KL_THOUGHT_OPENED;
    }
    return true;
}

/* The text goes on without a mark. */
static void settle(struct kl_thought_reader *r)
{
    if (r->place == KL_THOUGHT_OPENED)
        r->place = KL_THOUGHT_INSIDE;
    else if (r->place != KL_THOUGHT_INSIDE)
        r->place = KL_THOUGHT_IN_TEXT;
}

enum kl_status kl_thought_reader_feed(struct kl_thought_reader *r, const char *text, size_t len,
                                      kl_thought_sink *sink, void *context)
{
    enum kl_status status = KL_OK;
    size_t begin = 0; /* of the plain text that is not passed on yet */
    for (size_t i = 0; i < len && status == KL_OK && r->place != KL_THOUGHT_IN_TEXT; i++) {
        bool was_thought = is_thought(r);
        size_t held = r->n_held;
        if (take(r, text[i])) {
            if (i > begin && held == 0) /* the plain text before the mark */
                status = sink(context, was_thought, text + begin, i - begin);
            begin = i + 1;
            continue;
        }
        if (held > 0) { /* it was no mark; a new one may begin here */
            status = release(r, sink, context);
            settle(r);
            begin = i;
            if (status == KL_OK && r->place != KL_THOUGHT_IN_TEXT && take(r, text[i]))
                begin = i + 1;
        }
        settle(r);
    }
    if (status == KL_OK && begin < len)
        status = sink(context, is_thought(r), text + begin, len - begin);
    return status;
}

enum kl_status kl_thought_reader_end(struct kl_thought_reader *r, kl_thought_sink *sink,
                                     void *context)
{
    return release(r, sink, context);
}

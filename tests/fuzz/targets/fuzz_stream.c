/*
 * Reads answers of other servers, like doctor and the endurance run: event streams cut at any place
 * give the same events, and documents are never read past their end.
 */
#include <string.h>

#include "base/hash.h"
#include "client/api_reader.h"
#include "fuzz.h"

struct seen {
    size_t n;
    uint64_t sum;
};

static void see(void *context, const struct kl_stream_event *event)
{
    struct seen *seen = context;
    seen->n++;
    seen->sum = seen->sum * 31 + (uint64_t)event->type;
    bool has_text = event->type != KL_STREAM_USAGE && event->type != KL_STREAM_DONE;
    for (const char *p = has_text ? event->text : ""; *p != '\0'; p++)
        seen->sum = seen->sum * 31 + (unsigned char)*p;
    PROMISE(event->type != KL_STREAM_TEXT || event->text[0] != '\0');
}

static struct seen feed(const char *text, size_t len, size_t step, bool *at_end)
{
    struct seen seen = {0};
    struct kl_stream_reader reader;
    struct kl_error err;
    kl_stream_reader_init(&reader, see, &seen);
    for (size_t at = 0; at < len; at += step)
        PROMISE(kl_stream_reader_feed(&reader, text + at, len - at < step ? len - at : step,
                                      &err) == KL_OK); /* inputs are shorter than the limit */
    *at_end = kl_stream_reader_at_end(&reader);
    kl_stream_reader_release(&reader);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = (size_t)take_byte(&data, &size) + 1;
    const char *text = (const char *)data;
    bool whole_at_end, cut_at_end;
    struct seen whole = feed(text, size, size + 1, &whole_at_end);
    struct seen cut = feed(text, size, step, &cut_at_end);
    PROMISE(whole.n == cut.n && whole.sum == cut.sum && whole_at_end == cut_at_end);

    char id[16];
    size_t running;
    double bytes;
    struct seen answer = {0};
    kl_read_answer(text, size, see, &answer);
    if (kl_read_model_id(text, size, id, sizeof id))
        PROMISE(strlen(id) < sizeof id);
    kl_read_running(text, size, &running);
    kl_read_resident(text, size, &bytes);
    return 0;
}

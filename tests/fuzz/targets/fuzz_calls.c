/*
 * Reads calls of tools out of an answer: split into any pieces, the content and the calls are the
 * same, a call is whole or cut at the end, and no piece of content has a tag in it.
 */
#include <stdbool.h>
#include <string.h>

#include "base/buffer.h"
#include "fuzz.h"
#include "service/call_reader.h"

struct output {
    struct kl_buffer text; /* contents, and calls between bytes that are in no UTF-8 */
    size_t n_calls;
    bool is_open;
};

static enum kl_status take_text(void *context, const char *text, size_t len)
{
    struct output *o = context;
    PROMISE(len > 0 && !o->is_open);
    PROMISE(memmem(text, len, "<tool_call>", 11) == NULL);
    PROMISE(memmem(text, len, "</tool_call>", 12) == NULL);
    return kl_buffer_append(&o->text, text, len);
}

static enum kl_status take_call(void *context, const struct kl_call_piece *piece)
{
    struct output *o = context;
    char mark = (char)(0xf8 + piece->part);
    PROMISE(o->is_open == (piece->part != KL_CALL_BEGIN));
    o->is_open = piece->part != KL_CALL_END;
    o->n_calls += piece->part == KL_CALL_BEGIN;
    PROMISE(piece->index == o->n_calls - 1);
    if (piece->part == KL_CALL_BEGIN)
        PROMISE((piece->len == 1 && piece->text[0] == 'f') ||
                (piece->len == 3 && memcmp(piece->text, "g_h", 3) == 0));
    if (piece->part != KL_CALL_ARGUMENTS)
        return kl_buffer_append(&o->text, &mark, 1);
    PROMISE(piece->len > 0);
    return kl_buffer_append(&o->text, piece->text, piece->len);
}

static void run(const char *text, size_t len, size_t step, struct output *o)
{
    static const char *const list[] = {"f", "g_h"};
    static struct kl_call_names *names;
    static struct kl_call_reader reader; /* the target is not run by several threads */
    const struct kl_call_sink sink = {take_text, take_call, o};
    if (names == NULL)
        names = kl_call_names_new(list, 2);
    kl_buffer_init(&o->text, (size_t)1 << 20);
    kl_call_reader_init(&reader, names);
    for (size_t at = 0; at < len; at += step)
        PROMISE(kl_call_reader_feed(&reader, text + at, len - at < step ? len - at : step, &sink) ==
                KL_OK);
    PROMISE(kl_call_reader_end(&reader, &sink) == KL_OK);
    PROMISE(reader.n_calls == o->n_calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = (size_t)take_byte(&data, &size) % 16 + 1;
    struct output whole = {0}, cut = {0};
    if (size >= KL_CALL_HELD / 2)
        size = KL_CALL_HELD / 2; /* how much is held back depends on the pieces of longer ones */
    run((const char *)data, size, size + 1, &whole);
    run((const char *)data, size, step, &cut);
    PROMISE(whole.n_calls == cut.n_calls && whole.is_open == cut.is_open);
    PROMISE(whole.text.len == cut.text.len);
    PROMISE(cut.text.len == 0 || memcmp(whole.text.data, cut.text.data, cut.text.len) == 0);
    kl_buffer_release(&whole.text);
    kl_buffer_release(&cut.text);
    return 0;
}

/* src/service/context_policy.c against its definition: the fewest turns go with which all that is
 * left, rendered and encoded as a whole, fits. And what is looked at for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../text/tiny_vocab.h"
#include "service/context_policy.h"

enum { MAX_MESSAGES = 60, ENDLESS = 1 << 20 };

struct fixture {
    struct kl_served served;
    struct kl_message messages[MAX_MESSAGES];
    char text[MAX_MESSAGES][64];
    const char *tools[1];
    struct kl_chat_input input;
};

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
    return *state >> 16;
}

/* With the tokens of ChatML, or without: then a conversation is one text to the tokenizer. */
static void open_fixture(struct fixture *f, bool with_tokens)
{
    static struct tiny_vocab v;
    memset(f, 0, sizeof *f);
    tiny_init(&v);
    tiny_merge(&v, "h e");
    tiny_merge(&v, "\xC4\x8A <"); /* a line break and the beginning of a turn */
    if (with_tokens) {
        tiny_token(&v, "<|im_start|>", 3);
        tiny_token(&v, "<|im_end|>", 3);
    }
    struct kl_gguf *gguf = tiny_gguf(&v);
    f->served.chat_template = kl_chat_template_for(gguf, NULL);
    kl_gguf_close(gguf);
    f->served.tokenizer = tiny_open(&v);
    f->input.messages = f->messages;
    f->input.tools = f->tools;
    f->tools[0] = "{\"type\": \"function\"}";
}

static void close_fixture(struct fixture *f)
{
    kl_tokenizer_close((struct kl_tokenizer *)f->served.tokenizer);
}

static void add(struct fixture *f, const char *role, size_t len)
{
    size_t i = f->input.n_messages++;
    for (size_t c = 0; c < len; c++)
        f->text[i][c] = c < 2 ? (char)('0' + i / (c == 0 ? 10 : 1) % 10) : "he \n"[(i + c * c) % 4];
    f->messages[i] = (struct kl_message){.role = role, .content = f->text[i], .content_len = len};
}

static void random_conversation(struct fixture *f, uint32_t *random)
{
    static const char *const roles[] = {"user", "user", "assistant", "assistant", "tool", "system"};
    size_t n = 1 + next_random(random) % MAX_MESSAGES;
    f->input.n_messages = 0;
    f->input.n_tools = next_random(random) % 2;
    while (f->input.n_messages < n)
        add(f, roles[next_random(random) % 6], next_random(random) % 40);
}

/* All of it rendered and encoded, without the messages before `from` that are not the system's. */
static struct kl_tokens encode_from(const struct fixture *f, size_t from)
{
    struct kl_message kept[MAX_MESSAGES];
    struct kl_prompt prompt;
    struct kl_tokens tokens = {0};
    struct kl_api_error error;
    size_t n = 0;
    for (size_t i = 0; i < f->input.n_messages; i++) {
        if (i >= from || strcmp(f->messages[i].role, "system") == 0)
            kept[n++] = f->messages[i];
    }
    assert_int_equal(
        kl_chat_input_render(&f->input, kept, n, f->served.chat_template, &prompt, &error), KL_OK);
    assert_int_equal(
        kl_tokenizer_encode(f->served.tokenizer, prompt.spans, prompt.n_spans, &tokens, NULL),
        KL_OK);
    kl_prompt_release(&prompt);
    return tokens;
}

/* The definition. */
static struct kl_tokens trim(const struct fixture *f, size_t room, size_t *left_out)
{
    struct kl_tokens tokens = encode_from(f, 0);
    bool first = true;
    *left_out = 0;
    for (size_t i = 0, gone = 0; i < f->input.n_messages && tokens.len > room; i++) {
        if (strcmp(f->messages[i].role, "user") == 0 && !first) {
            kl_tokens_release(&tokens);
            tokens = encode_from(f, i);
            *left_out = gone;
        }
        first = first && strcmp(f->messages[i].role, "user") != 0;
        gone += strcmp(f->messages[i].role, "system") != 0;
    }
    return tokens;
}

static enum kl_status run(struct kl_context_fit *fit, size_t effort_each,
                          struct kl_api_error *error)
{
    bool done = false;
    enum kl_status status = KL_OK;
    while (!done && status == KL_OK) {
        size_t effort = effort_each;
        status = kl_context_fit_step(fit, &effort, &done, error);
    }
    return status;
}

static void check(const struct fixture *f, size_t room, size_t ctx_size, size_t effort)
{
    size_t left_out;
    struct kl_context_fit fit;
    struct kl_api_error error;
    struct kl_tokens expected = trim(f, room, &left_out);
    assert_int_equal(
        kl_context_fit_begin(&fit, &f->input, &f->served, ctx_size, KL_CONTEXT_TRIM, room, &error),
        KL_OK);
    if (expected.len > ctx_size) {
        assert_int_equal(run(&fit, effort, &error), KL_ERR_LIMIT);
        assert_int_equal(error.status, 400);
        assert_string_equal(error.code, "context_length_exceeded");
        assert_int_equal(error.n_ctx, ctx_size);
        assert_in_range(error.n_prompt_tokens, ctx_size + 1, expected.len);
    } else {
        assert_int_equal(run(&fit, effort, &error), KL_OK);
        assert_int_equal(fit.n_left_out, left_out);
        assert_int_equal(fit.tokens.len, expected.len);
        assert_memory_equal(fit.tokens.ids, expected.ids, expected.len * sizeof *expected.ids);
    }
    kl_context_fit_release(&fit);
    kl_tokens_release(&expected);
}

static void it_is_as_defined(void **state)
{
    (void)state;
    static struct fixture f;
    uint32_t random = 11;
    for (int round = 0; round < 800; round++) {
        if (round % 400 == 0)
            open_fixture(&f, round == 0);
        random_conversation(&f, &random);
        size_t ctx_size = 100 + next_random(&random) % 2000;
        size_t room = ctx_size - next_random(&random) % (ctx_size / 4);
        check(&f, room, ctx_size, 1 + next_random(&random) % 300);
        if (round % 400 == 399)
            close_fixture(&f);
    }
}

static void without_trimming_it_is_the_whole_or_too_long(void **state)
{
    (void)state;
    static struct fixture f;
    uint32_t random = 5;
    open_fixture(&f, true);
    for (int round = 0; round < 200; round++) {
        struct kl_context_fit fit;
        struct kl_api_error error;
        size_t ctx_size = 200 + next_random(&random) % 1500;
        random_conversation(&f, &random);
        struct kl_tokens whole = encode_from(&f, 0);
        assert_int_equal(
            kl_context_fit_begin(&fit, &f.input, &f.served, ctx_size, KL_CONTEXT_ERROR, 1, &error),
            KL_OK);
        if (whole.len <= ctx_size) {
            assert_int_equal(run(&fit, 100, &error), KL_OK);
            assert_int_equal(fit.tokens.len, whole.len);
            assert_memory_equal(fit.tokens.ids, whole.ids, whole.len * sizeof *whole.ids);
        } else {
            assert_int_equal(run(&fit, 100, &error), KL_ERR_LIMIT);
            assert_in_range(error.n_prompt_tokens, ctx_size + 1, whole.len);
        }
        kl_context_fit_release(&fit);
        kl_tokens_release(&whole);
    }
    close_fixture(&f);
}

/* Only what stays is encoded, and what would have been the next turn, each once. */
static void older_turns_are_not_looked_at(void **state)
{
    (void)state;
    static struct fixture f;
    struct kl_context_fit fit;
    struct kl_api_error error;
    open_fixture(&f, true);
    add(&f, "system", 60);
    while (f.input.n_messages < MAX_MESSAGES - 1)
        add(&f, f.input.n_messages % 2 == 1 ? "user" : "assistant", 60);
    const size_t room = 700;
    size_t left_out;
    struct kl_tokens expected = trim(&f, room, &left_out);
    size_t kept = f.input.n_messages - left_out;
    assert_int_equal(
        kl_context_fit_begin(&fit, &f.input, &f.served, ENDLESS, KL_CONTEXT_TRIM, room, &error),
        KL_OK);
    assert_int_equal(run(&fit, SIZE_MAX, &error), KL_OK);
    assert_int_equal(fit.tokens.len, expected.len);
    /* a message and its role; of the turn that does not fit, two messages at most */
    assert_in_range(fit.encoder.n_begun_bytes, kept * 60, (kept + 2) * (60 + 12));
    kl_context_fit_release(&fit);
    kl_tokens_release(&expected);
    close_fixture(&f);
}

/* One message that is much too long is encoded only as far as the context goes. */
static void a_long_message_is_encoded_as_far_as_it_may_fit(void **state)
{
    (void)state;
    static struct fixture f;
    static char text[900000];
    struct kl_context_fit fit;
    struct kl_api_error error;
    open_fixture(&f, true);
    memset(text, '1', sizeof text); /* a token each */
    add(&f, "user", 10);
    f.messages[0].content = text;
    f.messages[0].content_len = sizeof text;
    assert_int_equal(
        kl_context_fit_begin(&fit, &f.input, &f.served, 1000, KL_CONTEXT_TRIM, 900, &error), KL_OK);
    assert_int_equal(run(&fit, 16384, &error), KL_ERR_LIMIT);
    assert_in_range(error.n_prompt_tokens, 1001, 1100);
    assert_non_null(strstr(error.text, "more than 1"));
    assert_in_range(fit.encoder.encoder.at, 900, 1100);
    kl_context_fit_release(&fit);

    /* so it is where older turns make room for it, and cannot make enough */
    add(&f, "assistant", 10);
    add(&f, "user", 10);
    assert_int_equal(
        kl_context_fit_begin(&fit, &f.input, &f.served, 1000, KL_CONTEXT_TRIM, 900, &error), KL_OK);
    assert_int_equal(run(&fit, 16384, &error), KL_OK);
    assert_int_equal(fit.n_left_out, 2);
    assert_in_range(fit.encoder.encoder.at, 800, 1100);
    kl_context_fit_release(&fit);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_defined),
        cmocka_unit_test(without_trimming_it_is_the_whole_or_too_long),
        cmocka_unit_test(older_turns_are_not_looked_at),
        cmocka_unit_test(a_long_message_is_encoded_as_far_as_it_may_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

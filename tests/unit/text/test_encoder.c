/* src/text/encoder.c and prompt_encoder.c: whatever the steps, and in whatever parts, the tokens
 * are those of the whole text; each part is encoded once; and no more is than is wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/encoder.h"
#include "text/prompt_encoder.h"
#include "tiny_vocab.h"

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
    return *state >> 16;
}

/* "aa" to 16 a's are tokens, the words "he", "hell", " he"; and three are added. */
static struct kl_tokenizer *open_usual(void)
{
    static struct tiny_vocab v;
    tiny_init(&v);
    tiny_merge(&v, "h e");
    tiny_merge(&v, "l l");
    tiny_merge(&v, "he ll");
    tiny_merge(&v, "Ġ he");
    tiny_merge(&v, "a a");
    tiny_merge(&v, "aa aa");
    tiny_merge(&v, "aaaa aaaa");
    tiny_merge(&v, "a b");
    tiny_token(&v, "<|im_start|>", 3);
    tiny_token(&v, "<|im_end|>", 3);
    tiny_token(&v, "<tool_call>", 4);
    return tiny_open(&v);
}

/* Words, signs that combine (in and out of order), bytes that are no UTF-8, long runs. */
static size_t random_text(uint32_t *random, char *text, size_t size)
{
    static const char *const units[] = {
        "hell",      " he",          "o",           "\xC3\xA9",
        "e\xCC\x81", "\n",           "<tool_call>", "a\xCC\xA3\xCC\x87",
        "\xFF",      "\xE4\xBD\xA0", "12",          "  ",
        "\xCC\x81",  "aaab",         "<|im_end|>"};
    size_t len = 0, wanted = next_random(random) % (size - 64);
    while (len < wanted) {
        const char *unit = units[next_random(random) % (sizeof units / sizeof *units)];
        size_t n = next_random(random) % 40 == 0 ? 1 + next_random(random) % 6000 : 1;
        for (; n > 0 && len < wanted; n--) {
            memcpy(text + len, unit, strlen(unit));
            len += strlen(unit);
        }
    }
    return len;
}

static void assert_same(const struct kl_tokens *found, const struct kl_tokens *expected)
{
    assert_int_equal(found->len, expected->len);
    if (found->len > 0)
        assert_memory_equal(found->ids, expected->ids, found->len * sizeof *found->ids);
}

static void steps_do_not_change_the_tokens(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    struct kl_encoder e = {.tokenizer = t};
    static char text[40000];
    uint32_t random = 1;
    for (int round = 0; round < 300; round++) {
        struct kl_tokens whole = {0}, found = {0};
        size_t len = random_text(&random, text, sizeof text);
        const struct kl_span span = {text, len, false};
        assert_int_equal(kl_tokenizer_encode(t, &span, 1, &whole, NULL), KL_OK);
        assert_int_equal(kl_encoder_begin(&e, text, len), KL_OK);
        bool done = len == 0;
        size_t n_steps = 0;
        while (!done) {
            size_t most = round % 3 == 0 ? 3 : 3000, effort = 1 + next_random(&random) % most;
            assert_int_equal(kl_encoder_step(&e, &effort, SIZE_MAX, &found, &done), KL_OK);
            n_steps++;
        }
        assert_same(&found, &whole);
        assert_true(n_steps >= len / 3000);
        kl_tokens_release(&found);
        kl_tokens_release(&whole);
    }
    kl_encoder_release(&e);
    kl_tokenizer_close(t);
}

/* A text abandoned in the middle of a long piece leaves nothing for the next. */
static void a_text_can_be_given_up(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    struct kl_encoder e = {.tokenizer = t};
    static char text[20000];
    memset(text, 'a', sizeof text);
    for (size_t n = 1; n < 60000; n += 777) {
        struct kl_tokens found = {0};
        size_t effort = n;
        bool done;
        assert_int_equal(kl_encoder_begin(&e, text, sizeof text), KL_OK);
        assert_int_equal(kl_encoder_step(&e, &effort, SIZE_MAX, &found, &done), KL_OK);
        found.len = 0;
        effort = SIZE_MAX;
        assert_int_equal(kl_encoder_begin(&e, text, 5000), KL_OK);
        assert_int_equal(kl_encoder_step(&e, &effort, SIZE_MAX, &found, &done), KL_OK);
        assert_true(done);
        assert_int_equal(found.len, 5000 / 8);
        kl_tokens_release(&found);
    }
    kl_encoder_release(&e);
    kl_tokenizer_close(t);
}

static void a_step_is_bounded(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    static char text[1 << 20];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 7 == 0 ? ' ' : 'x';
    for (int unbroken = 0; unbroken < 2; unbroken++) {
        struct kl_encoder e = {.tokenizer = t};
        struct kl_tokens found = {0};
        bool done = false;
        size_t n_steps = 0, most = 0;
        assert_int_equal(kl_encoder_begin(&e, text, sizeof text), KL_OK);
        for (; !done; n_steps++) {
            size_t effort = 16384, before = found.len;
            assert_int_equal(kl_encoder_step(&e, &effort, SIZE_MAX, &found, &done), KL_OK);
            most = found.len - before > most ? found.len - before : most;
        }
        /* once to normalise, once to encode; what is merged as a whole comes at once */
        assert_in_range(n_steps, 2 * sizeof text / 16384, 4 * sizeof text / 16384);
        if (!unbroken)
            assert_in_range(most, 1, 16384 + 16 * 8);
        memset(text, 'x', sizeof text);
        kl_tokens_release(&found);
        kl_encoder_release(&e);
    }
    kl_tokenizer_close(t);
}

static void it_stops_at_the_limit(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    struct kl_encoder e = {.tokenizer = t};
    struct kl_tokens found = {0};
    static char text[100000];
    memset(text, '1', sizeof text);
    size_t effort = SIZE_MAX;
    bool done;
    assert_int_equal(kl_encoder_begin(&e, text, sizeof text), KL_OK);
    assert_int_equal(kl_encoder_step(&e, &effort, 500, &found, &done), KL_OK);
    assert_false(done);
    assert_in_range(found.len, 501, 501 + 16);
    kl_tokens_release(&found);
    kl_encoder_release(&e);
    kl_tokenizer_close(t);
}

/* ---- prompts --------------------------------------------------------------------------------- */

enum { MAX_MESSAGES = 40 };

struct conversation {
    struct kl_message messages[MAX_MESSAGES];
    size_t n;
    char text[MAX_MESSAGES][700];
};

static void random_conversation(struct conversation *c, uint32_t *random)
{
    static const char *const roles[] = {"user", "assistant", "tool", "system"};
    c->n = 1 + next_random(random) % MAX_MESSAGES;
    for (size_t i = 0; i < c->n; i++) {
        size_t len = random_text(random, c->text[i], sizeof c->text[i]);
        c->messages[i] = (struct kl_message){
            .role = roles[next_random(random) % 4], .content = c->text[i], .content_len = len};
    }
}

static void render(const struct kl_message *messages, size_t n, struct kl_prompt *prompt)
{
    const struct kl_chat chat = {
        .messages = messages, .n_messages = n, .add_generation_prompt = true};
    static struct tiny_vocab v;
    tiny_init(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_int_equal(kl_chat_render(kl_chat_template_for(gguf, NULL), &chat, prompt, NULL), KL_OK);
    kl_gguf_close(gguf);
}

static size_t steps(struct kl_prompt_encoder *e, const struct kl_prompt *prompt, size_t limit,
                    uint32_t *random)
{
    bool done = false;
    size_t n = 0;
    assert_int_equal(kl_prompt_encoder_begin(e, prompt, limit), KL_OK);
    for (; !done; n++) {
        size_t effort = 1 + next_random(random) % 1000;
        assert_int_equal(kl_prompt_encoder_step(e, &effort, &done), KL_OK);
    }
    return n;
}

/* Ends of a conversation, in any order, some of them given up at a limit. */
static void parts_of_prompts_are_as_in_the_whole(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    static struct conversation c;
    uint32_t random = 7;
    for (int round = 0; round < 40; round++) {
        struct kl_prompt_encoder e = {.encoder.tokenizer = t};
        random_conversation(&c, &random);
        for (int look = 0; look < 8; look++) {
            size_t from = next_random(&random) % c.n;
            size_t limit = next_random(&random) % 2 ? 100000 : next_random(&random) % 3000;
            struct kl_prompt prompt;
            struct kl_tokens whole = {0}, found = {0};
            render(c.messages + from, c.n - from, &prompt);
            assert_int_equal(kl_tokenizer_encode(t, prompt.spans, prompt.n_spans, &whole, NULL),
                             KL_OK);
            steps(&e, &prompt, limit, &random);
            if (whole.len <= limit) {
                assert_int_equal(e.n_tokens, whole.len);
                assert_int_equal(kl_prompt_encoder_copy(&e, &found), KL_OK);
                assert_same(&found, &whole);
            } else {
                assert_in_range(e.n_tokens, limit + 1, whole.len);
            }
            kl_tokens_release(&found);
            kl_tokens_release(&whole);
            kl_prompt_release(&prompt);
        }
        kl_prompt_encoder_release(&e);
    }
    kl_tokenizer_close(t);
}

/* Bytes that stand between added tokens when messages differ from each other. */
static void each_part_is_encoded_once_and_from_the_end(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    struct kl_prompt_encoder e = {.encoder.tokenizer = t};
    struct kl_message messages[64];
    char text[64][32];
    uint32_t random = 3;
    for (size_t i = 0; i < 64; i++) {
        snprintf(text[i], sizeof text[i], "%02zu 12345678901234567", i); /* 20 bytes, 20 tokens */
        messages[i] = (struct kl_message){.role = "user", .content = text[i], .content_len = 20};
    }
    struct kl_prompt prompt;
    const size_t line = 1, head = strlen("user\n"), last = strlen("assistant\n");

    render(messages + 60, 4, &prompt);
    steps(&e, &prompt, 100000, &random);
    assert_int_equal(e.n_begun_bytes, 4 * (head + 20) + line + last);
    kl_prompt_release(&prompt);

    render(messages + 56, 8, &prompt); /* four are known, and the newest of the others fits */
    size_t before = e.n_tokens;
    steps(&e, &prompt, before + 4 * 3 + 30, &random);
    assert_true(e.n_tokens > before + 4 * 3 + 30);
    assert_int_equal(e.n_begun_bytes, 6 * (head + 20) + line + last);
    kl_prompt_release(&prompt);

    render(messages + 59, 5, &prompt);
    steps(&e, &prompt, 100000, &random);
    assert_int_equal(e.n_begun_bytes, 6 * (head + 20) + line + last); /* all of it is known */
    kl_prompt_release(&prompt);
    kl_prompt_encoder_release(&e);
    kl_tokenizer_close(t);
}

/* With as many added tokens as that, no text has to be looked at. */
static void tokens_of_the_scaffold_count_at_once(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_usual();
    struct kl_prompt_encoder e = {.encoder.tokenizer = t};
    struct kl_message messages[64];
    struct kl_prompt prompt;
    bool done;
    size_t effort = SIZE_MAX;
    for (size_t i = 0; i < 64; i++)
        messages[i] = (struct kl_message){.role = "user", .content = "x", .content_len = 1};
    render(messages, 64, &prompt);
    assert_int_equal(kl_prompt_encoder_begin(&e, &prompt, 100), KL_OK);
    assert_int_equal(kl_prompt_encoder_step(&e, &effort, &done), KL_OK);
    assert_true(done);
    assert_int_equal(e.n_tokens, 129);
    assert_int_equal(e.n_begun_bytes, 0);
    kl_prompt_release(&prompt);
    kl_prompt_encoder_release(&e);
    kl_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_do_not_change_the_tokens),
        cmocka_unit_test(a_text_can_be_given_up),
        cmocka_unit_test(a_step_is_bounded),
        cmocka_unit_test(it_stops_at_the_limit),
        cmocka_unit_test(parts_of_prompts_are_as_in_the_whole),
        cmocka_unit_test(each_part_is_encoded_once_and_from_the_end),
        cmocka_unit_test(tokens_of_the_scaffold_count_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

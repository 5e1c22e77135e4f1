/* src/format/gguf_survey.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "format/gguf_survey.h"

static void put(struct kl_buffer *b, const void *data, size_t len)
{
    assert_int_equal(kl_buffer_append(b, data, len), KL_OK);
}

static void put_u32(struct kl_buffer *b, uint32_t value)
{
    put(b, &value, sizeof value);
}

static void put_u64(struct kl_buffer *b, uint64_t value)
{
    put(b, &value, sizeof value);
}

static void put_tensor(struct kl_buffer *b, const char *name, uint32_t type, uint64_t offset)
{
    put_u64(b, strlen(name));
    put(b, name, strlen(name));
    put_u32(b, 1);
    put_u64(b, 256);
    put_u32(b, type);
    put_u64(b, offset);
}

/* Of three tensors, in any order: 100 bytes of type 16 (IQ2_XXS), 50 of Q8_0, the rest of 16. */
static void put_file(struct kl_buffer *b)
{
    kl_buffer_init(b, 10000);
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, 3);
    put_u64(b, 0);
    put_tensor(b, "b", 8, 100);
    put_tensor(b, "a", 16, 0);
    put_tensor(b, "c", 16, 150);
    size_t head = b->len;
    while (b->len < head + 450)
        put(b, "x", 1);
}

static enum kl_status survey(struct kl_buffer *b, struct kl_gguf_survey *s, struct kl_error *err)
{
    char path[] = "/tmp/kinglet-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->data, b->len), b->len);
    close(fd);
    enum kl_status status = kl_gguf_survey(path, s, err);
    unlink(path);
    return status;
}

static void types_with_their_bytes(void **state)
{
    (void)state;
    struct kl_buffer b;
    struct kl_gguf_survey s;
    put_file(&b);
    assert_int_equal(survey(&b, &s, NULL), KL_OK);
    kl_buffer_release(&b);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.types[0].name, "IQ2_XXS");
    assert_false(s.types[0].known);
    assert_int_equal(s.types[0].tensors, 2);
    assert_int_equal(s.types[0].bytes, 400);
    assert_string_equal(s.types[1].name, "Q8_0");
    assert_true(s.types[1].known);
    assert_int_equal(s.types[1].bytes, 50);
}

/* Every beginning of the file fails, or has fewer bytes. */
static void truncated_files(void **state)
{
    (void)state;
    struct kl_buffer b;
    struct kl_gguf_survey s;
    struct kl_error err;
    put_file(&b);
    for (size_t left = b.len - 450; left-- > 0;) {
        b.len = left;
        err = (struct kl_error){0};
        assert_int_not_equal(survey(&b, &s, &err), KL_OK);
        assert_true(err.text[0] != '\0');
    }
    kl_buffer_release(&b);
}

static void many_types_are_counted_together(void **state)
{
    (void)state;
    struct kl_gguf_survey s = {0};
    size_t tensors = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < 3 * KL_GGUF_MAX_TYPES; i++)
        kl_gguf_survey_add(&s, 1000 + i, i);
    assert_int_equal(s.n, KL_GGUF_MAX_TYPES);
    for (size_t i = 0; i < s.n; i++) {
        tensors += s.types[i].tensors;
        bytes += s.types[i].bytes;
        assert_true(i == 0 || s.types[i].bytes <= s.types[i - 1].bytes);
        assert_false(s.types[i].known);
    }
    assert_int_equal(tensors, 3 * KL_GGUF_MAX_TYPES);
    assert_int_equal(bytes, 3 * KL_GGUF_MAX_TYPES * (3 * KL_GGUF_MAX_TYPES - 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_with_their_bytes),
        cmocka_unit_test(truncated_files),
        cmocka_unit_test(many_types_are_counted_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

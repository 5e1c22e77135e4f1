/* src/format/gguf.c: what is read from whole files. Damaged ones are in tests/fuzz. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "format/gguf.h"

/* ---- a small writer ------------------------------------------------------- */

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

static void put_string(struct kl_buffer *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void put_key(struct kl_buffer *b, const char *key, uint32_t type)
{
    put_string(b, key);
    put_u32(b, type);
}

static void put_scalar(struct kl_buffer *b, const char *key, uint32_t type, const void *value,
                       size_t size)
{
    put_key(b, key, type);
    put(b, value, size);
}

static void put_head(struct kl_buffer *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    kl_buffer_init(b, 1 << 20);
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_kv);
}

static void put_padding(struct kl_buffer *b, size_t alignment)
{
    while (b->len % alignment != 0)
        put(b, "", 1);
}

static struct kl_gguf *open_bytes(struct kl_buffer *b, enum kl_status expected,
                                  struct kl_error *err)
{
    char path[] = "/tmp/kinglet-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->data, b->len), b->len);
    close(fd);
    struct kl_gguf *gguf = NULL;
    assert_int_equal(kl_gguf_open(path, &gguf, err), expected);
    unlink(path);
    kl_buffer_release(b);
    if (expected == KL_OK) {
        assert_string_equal(kl_gguf_file(gguf)->path, path);
    } else {
        assert_null(gguf);
        assert_memory_equal(err->text, path, strlen(path));
        assert_int_equal(err->status, expected);
    }
    return gguf;
}

/* ---- tests ---------------------------------------------------------------- */

static bool is(struct kl_gguf_string s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* One key of every type. */
static struct kl_gguf *open_values(void)
{
    struct kl_buffer b;
    put_head(&b, 3, 0, 18);
    put_scalar(&b, "u8", KL_GGUF_U8, &(uint8_t){200}, 1);
    put_scalar(&b, "i8", KL_GGUF_I8, &(int8_t){-100}, 1);
    put_scalar(&b, "u16", KL_GGUF_U16, &(uint16_t){60000}, 2);
    put_scalar(&b, "i16", KL_GGUF_I16, &(int16_t){-30000}, 2);
    put_scalar(&b, "u32", KL_GGUF_U32, &(uint32_t){4000000000}, 4);
    put_scalar(&b, "i32", KL_GGUF_I32, &(int32_t){INT32_MIN}, 4);
    put_scalar(&b, "u64", KL_GGUF_U64, &(uint64_t){UINT64_MAX}, 8);
    put_scalar(&b, "i64", KL_GGUF_I64, &(int64_t){INT64_MIN}, 8);
    put_scalar(&b, "positive", KL_GGUF_I64, &(int64_t){7}, 8);
    put_scalar(&b, "f32", KL_GGUF_F32, &(float){1e-6f}, 4);
    put_scalar(&b, "f64", KL_GGUF_F64, &(double){-2.5}, 8);
    put_scalar(&b, "nan", KL_GGUF_F32, &(float){NAN}, 4);
    put_scalar(&b, "yes", KL_GGUF_BOOL, &(uint8_t){1}, 1);
    put_scalar(&b, "no", KL_GGUF_BOOL, &(uint8_t){0}, 1);
    put_key(&b, "text", KL_GGUF_STRING);
    put_string(&b, "kinglet");
    put_key(&b, "empty", KL_GGUF_STRING);
    put_string(&b, "");
    put_key(&b, "strings", KL_GGUF_ARRAY);
    put_u32(&b, KL_GGUF_STRING);
    put_u64(&b, 3);
    put_string(&b, "a");
    put_string(&b, "");
    put_string(&b, "ccc");
    put_key(&b, "numbers", KL_GGUF_ARRAY);
    put_u32(&b, KL_GGUF_I32);
    put_u64(&b, 2);
    put_u32(&b, 5);
    put_u32(&b, 6);
    return open_bytes(&b, KL_OK, NULL);
}

static void integers_of_every_type(void **state)
{
    (void)state;
    struct kl_gguf *g = open_values();
    uint64_t value = 0;
    static const struct {
        const char *key;
        uint64_t value;
    } good[] = {
        {"u8", 200}, {"u16", 60000}, {"u32", 4000000000}, {"u64", UINT64_MAX}, {"positive", 7}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct kl_error err = {0};
        assert_int_equal(kl_gguf_u64(g, good[i].key, 0, UINT64_MAX, &value, NULL), KL_OK);
        assert_true(value == good[i].value);
        assert_int_equal(kl_gguf_u64(g, good[i].key, value, value, &value, NULL), KL_OK);
        assert_int_equal(kl_gguf_u64(g, good[i].key, 0, value - 1, &value, &err), KL_ERR_FORMAT);
        assert_non_null(strstr(err.text, good[i].key));
        if (value < UINT64_MAX)
            assert_int_equal(kl_gguf_u64(g, good[i].key, value + 1, UINT64_MAX, &value, &err),
                             KL_ERR_FORMAT);
        assert_true(value == good[i].value); /* a failure leaves it alone */
    }
    static const struct {
        const char *key;
        const char *found;
    } negative[] = {{"i8", "found -100"},
                    {"i16", "found -30000"},
                    {"i32", "found -2147483648"},
                    {"i64", "found -9223372036854775808"}};
    for (size_t i = 0; i < sizeof negative / sizeof negative[0]; i++) {
        struct kl_error err = {0};
        assert_int_equal(kl_gguf_u64(g, negative[i].key, 0, UINT64_MAX, &value, &err),
                         KL_ERR_FORMAT);
        assert_non_null(strstr(err.text, negative[i].found));
        assert_non_null(strstr(err.text, "expected 0 to"));
    }
    kl_gguf_close(g);
}

static void floats_bools_and_strings(void **state)
{
    (void)state;
    struct kl_gguf *g = open_values();
    struct kl_error err = {0};
    double number = 0;
    bool flag = false;
    struct kl_gguf_string text;
    assert_int_equal(kl_gguf_f64(g, "f32", 0, 1, &number, NULL), KL_OK);
    assert_true(number == (double)1e-6f);
    assert_int_equal(kl_gguf_f64(g, "f64", -3, 0, &number, NULL), KL_OK);
    assert_true(number == -2.5);
    assert_int_equal(kl_gguf_f64(g, "f64", 0, 1, &number, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "key f64: expected 0 to 1, found -2.5"));
    assert_int_equal(kl_gguf_f64(g, "f64", -9, -3, &number, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_gguf_f64(g, "nan", -1e300, 1e300, &number, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "nan"));

    assert_int_equal(kl_gguf_bool(g, "yes", &flag, NULL), KL_OK);
    assert_true(flag);
    assert_int_equal(kl_gguf_bool(g, "no", &flag, NULL), KL_OK);
    assert_false(flag);

    assert_int_equal(kl_gguf_string(g, "text", &text, NULL), KL_OK);
    assert_true(is(text, "kinglet"));
    assert_int_equal(kl_gguf_string(g, "empty", &text, NULL), KL_OK);
    assert_int_equal(text.len, 0);
    kl_gguf_close(g);
}

static void arrays_are_walked_in_place(void **state)
{
    (void)state;
    struct kl_gguf *g = open_values();
    struct kl_gguf_array array;
    struct kl_gguf_string text;
    size_t at = 0;
    assert_int_equal(kl_gguf_array(g, "strings", KL_GGUF_STRING, &array, NULL), KL_OK);
    assert_int_equal(array.len, 3);
    static const char *const expected[] = {"a", "", "ccc"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(kl_gguf_array_next_string(&array, &at, &text));
        assert_true(is(text, expected[i]));
    }
    assert_int_equal(at, array.size);
    assert_false(kl_gguf_array_next_string(&array, &at, &text));

    assert_int_equal(kl_gguf_array(g, "numbers", KL_GGUF_I32, &array, NULL), KL_OK);
    assert_int_equal(array.len, 2);
    assert_int_equal(array.size, 8);
    assert_memory_equal(array.data, ((int32_t[]){5, 6}), 8);
    kl_gguf_close(g);
}

static void wrong_types_and_missing_keys(void **state)
{
    (void)state;
    struct kl_gguf *g = open_values();
    struct kl_error err = {0};
    uint64_t value;
    double number;
    bool flag;
    struct kl_gguf_string text;
    struct kl_gguf_array array;
    assert_true(kl_gguf_has(g, "text"));
    assert_false(kl_gguf_has(g, "tex"));
    assert_false(kl_gguf_has(g, "texts"));
    assert_false(kl_gguf_has(g, ""));

    assert_int_equal(kl_gguf_u64(g, "none", 0, 1, &value, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "key none"));
    assert_int_equal(kl_gguf_f64(g, "none", 0, 1, &number, &err), KL_ERR_NOT_FOUND);
    assert_int_equal(kl_gguf_bool(g, "none", &flag, &err), KL_ERR_NOT_FOUND);
    assert_int_equal(kl_gguf_string(g, "none", &text, &err), KL_ERR_NOT_FOUND);
    assert_int_equal(kl_gguf_array(g, "none", KL_GGUF_U8, &array, &err), KL_ERR_NOT_FOUND);

    assert_int_equal(kl_gguf_u64(g, "text", 0, 1, &value, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "key text: expected an integer, found a single string"));
    assert_int_equal(kl_gguf_u64(g, "numbers", 0, 1, &value, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "found an array of i32"));
    assert_int_equal(kl_gguf_u64(g, "yes", 0, 1, &value, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_gguf_f64(g, "u32", 0, 1, &number, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_gguf_bool(g, "u8", &flag, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_gguf_string(g, "strings", &text, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_gguf_array(g, "numbers", KL_GGUF_U32, &array, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "expected an array of u32, found an array of i32"));
    assert_int_equal(kl_gguf_array(g, "text", KL_GGUF_STRING, &array, &err), KL_ERR_FORMAT);
    kl_gguf_close(g);
}

/* Two tensors, in the data the other way round; version 2 and an alignment of 64. */
static void tensors_by_place_and_by_name(void **state)
{
    (void)state;
    struct kl_buffer b;
    put_head(&b, 2, 2, 1);
    put_scalar(&b, "general.alignment", KL_GGUF_U32, &(uint32_t){64}, 4);
    put_string(&b, "second.weight");
    put_u32(&b, 2);
    put_u64(&b, 64);
    put_u64(&b, 3);
    put_u32(&b, KL_Q8_0);
    put_u64(&b, 64);
    put_string(&b, "first.bias");
    put_u32(&b, 1);
    put_u64(&b, 5);
    put_u32(&b, KL_F32);
    put_u64(&b, 0);
    put_padding(&b, 64);
    size_t data = b.len;
    put(&b, (float[]){1, 2, 3, 4, 5}, 20);
    put_padding(&b, 64);
    static const uint8_t rows[3 * 2 * 34] = {0x12, 0x34};
    put(&b, rows, sizeof rows);

    struct kl_gguf *g = open_bytes(&b, KL_OK, NULL);
    assert_int_equal(kl_gguf_n_tensors(g), 2);
    const struct kl_gguf_tensor *t = kl_gguf_tensor(g, "second.weight");
    assert_ptr_equal(t, kl_gguf_tensor_at(g, 0));
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->dims[0], 64);
    assert_int_equal(t->dims[1], 3);
    assert_int_equal(t->dims[2], 1);
    assert_int_equal(t->dims[3], 1);
    assert_string_equal(t->type->name, "Q8_0");
    assert_int_equal(t->size, sizeof rows);
    assert_ptr_equal(t->data, kl_gguf_file(g)->data + data + 64);
    assert_memory_equal(t->data, rows, sizeof rows);
    t = kl_gguf_tensor(g, "first.bias");
    assert_ptr_equal(t, kl_gguf_tensor_at(g, 1));
    assert_int_equal(t->size, 20);
    assert_memory_equal(t->data, ((float[]){1, 2, 3, 4, 5}), 20);
    assert_null(kl_gguf_tensor(g, "first"));
    assert_null(kl_gguf_tensor(g, "first.bias "));
    kl_gguf_close(g);
}

static void the_header_hash_is_of_the_header(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (uint32_t i = 0; i < 3; i++) {
        struct kl_buffer b;
        put_head(&b, 3, 1, 1);
        put_scalar(&b, "key", KL_GGUF_U32, &(uint32_t){i / 2}, 4); /* the third differs here */
        put_string(&b, "t");
        put_u32(&b, 1);
        put_u64(&b, 1);
        put_u32(&b, KL_F32);
        put_u64(&b, 0);
        put_padding(&b, 32);
        put_u32(&b, i); /* and all in the data */
        struct kl_gguf *g = open_bytes(&b, KL_OK, NULL);
        hashes[i] = kl_gguf_header_hash(g);
        kl_gguf_close(g);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

static void a_file_may_have_nothing_in_it(void **state)
{
    (void)state;
    struct kl_buffer b;
    put_head(&b, 3, 0, 0);
    struct kl_gguf *g = open_bytes(&b, KL_OK, NULL);
    assert_int_equal(kl_gguf_n_tensors(g), 0);
    assert_null(kl_gguf_tensor(g, "x"));
    assert_false(kl_gguf_has(g, "x"));
    kl_gguf_close(g);
    kl_gguf_close(NULL);
}

static void says_what_kind_of_file_it_is_not(void **state)
{
    (void)state;
    struct kl_buffer b;
    struct kl_error err = {0};
    put_head(&b, 1, 0, 0);
    open_bytes(&b, KL_ERR_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "version: expected 2 or 3, found 1"));
    put_head(&b, 0x03000000, 0, 0);
    open_bytes(&b, KL_ERR_UNSUPPORTED, &err);
    assert_non_null(strstr(err.text, "big-endian"));
    kl_buffer_init(&b, 100);
    put(&b, "RIFF something", 14);
    open_bytes(&b, KL_ERR_FORMAT, &err);
    assert_non_null(strstr(err.text, "not a GGUF file"));
    assert_non_null(strstr(err.text, "52 49 46 46"));
    kl_buffer_init(&b, 100);
    put(&b, "PK\x03\x04 a zip file", 15);
    open_bytes(&b, KL_ERR_FORMAT, &err);
    assert_non_null(strstr(err.text, "not a GGUF file: it is a zip archive"));

    struct kl_gguf *g;
    assert_int_equal(kl_gguf_open("/nonexistent/model.gguf", &g, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/model.gguf"));
    assert_null(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_type),
        cmocka_unit_test(floats_bools_and_strings),
        cmocka_unit_test(arrays_are_walked_in_place),
        cmocka_unit_test(wrong_types_and_missing_keys),
        cmocka_unit_test(tensors_by_place_and_by_name),
        cmocka_unit_test(the_header_hash_is_of_the_header),
        cmocka_unit_test(a_file_may_have_nothing_in_it),
        cmocka_unit_test(says_what_kind_of_file_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/text/tables.c: the tables of a tokenizer, kept in a file and mapped from there, in all states
 * of that file; and src/text/words.c. What the tables mean is tested where they are made. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/log.h"
#include "text/tables.h"
#include "tiny_vocab.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    kl_log_set_level(KL_LOG_ERROR);
    snprintf(dir, sizeof dir, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

/* The only file in dir, or "": none. */
static void kept_file(char *path, size_t size)
{
    path[0] = '\0';
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, KL_DIGEST_INDEX) == 0)
            continue;
        assert_string_equal(path, "");
        snprintf(path, size, "%s/%s", dir, e->d_name);
    }
    closedir(d);
}

static void empty_dir(void)
{
    char path[400];
    kept_file(path, sizeof path);
    unlink(path);
    snprintf(path, sizeof path, "%s/" KL_DIGEST_INDEX, dir);
    unlink(path);
}

static int remove_dir(void **state)
{
    (void)state;
    empty_dir();
    return rmdir(dir);
}

static void usual(struct tiny_vocab *v)
{
    tiny_init(v);
    tiny_merge(v, "h e");
    tiny_merge(v, "l l");
    tiny_merge(v, "he ll");
    tiny_merge(v, "hell hell");
    tiny_merge(v, "hellhell hell"); /* longer than a word of words.h */
    tiny_merge(v, "b c");
    tiny_merge(v, "a b");
    tiny_merge(v, "ab c"); /* never reached */
    tiny_token(v, "<|im_end|>", 3);
}

/* Tokenizes with tables from `from` (NULL: nowhere). */
static void assert_ids_from(const struct kl_gguf *gguf, const char *from)
{
    static const char text[] = "hell hellhellhell hellhell abc<|im_end|>\n\xE4\xB8\xAD";
    static const int32_t expected[] = {258, 32, 260, 32, 259, 32, 97, 261, 264, 10, 228, 184, 173};
    struct kl_tokenizer *t = NULL;
    struct kl_error err = {0};
    struct kl_tokens ids = {0};
    const struct kl_span span = {.text = text, .len = sizeof text - 1, .special = true};
    if (kl_tokenizer_open_kept(gguf, from, &t, &err) != KL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(kl_tokenizer_encode(t, &span, 1, &ids, &err), KL_OK);
    assert_int_equal(ids.len, sizeof expected / sizeof *expected);
    assert_memory_equal(ids.ids, expected, sizeof expected);
    assert_int_equal(kl_tokenizer_size(t), 265);
    assert_int_equal(kl_tokenizer_find(t, "abc", 3), 263);
    kl_tokens_release(&ids);
    if (from != NULL)
        kl_tokenizer_keep(t, gguf, from);
    kl_tokenizer_close(t);
}

static void tables_are_kept_and_used(void **state)
{
    (void)state;
    struct tiny_vocab v;
    char path[400];
    struct stat first, again;
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, NULL);
    kept_file(path, sizeof path);
    assert_string_equal(path, "");
    assert_ids_from(gguf, dir);
    kept_file(path, sizeof path);
    assert_non_null(strstr(path, ".tokenizer"));
    assert_int_equal(stat(path, &first), 0);

    struct kl_tables t;
    struct kl_error err = {0};
    assert_int_equal(kl_tables_open(&t, gguf, false, dir, &err), KL_OK);
    assert_non_null(t.kept.map.data);
    assert_true((uint8_t *)t.vocab.bytes > t.kept.map.data &&
                (uint8_t *)t.vocab.bytes < t.kept.map.data + t.kept.map.size);
    kl_tables_close(&t);
    assert_ids_from(gguf, dir);
    assert_int_equal(stat(path, &again), 0);
    assert_true(first.st_ino == again.st_ino); /* used as it is */
    kl_gguf_close(gguf);
    empty_dir();
}

/* Two rules for one vocabulary: each has tables of its own. */
static void tables_of_another_rule_are_others(void **state)
{
    (void)state;
    struct tiny_vocab v;
    struct kl_tables t;
    struct kl_error err = {0};
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, dir);
    assert_int_equal(kl_tables_open(&t, gguf, true, dir, &err), KL_OK);
    assert_null(t.kept.map.data);
    kl_tables_close(&t);
    empty_dir();
    assert_int_equal(kl_tables_open(&t, gguf, true, dir, &err), KL_OK);
    kl_tables_keep(&t, gguf, dir);
    assert_non_null(t.kept.map.data);
    kl_tables_close(&t);
    assert_int_equal(kl_tables_open(&t, gguf, false, dir, &err), KL_OK);
    assert_null(t.kept.map.data);
    kl_tables_close(&t);
    kl_gguf_close(gguf);
    empty_dir();
}

static void damaged_tables_are_made_again(void **state)
{
    (void)state;
    struct tiny_vocab v;
    char path[400];
    struct stat st, before;
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, dir);
    kept_file(path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    /* Of every part one byte, its top bit: as large an index as can be. Between sections stands
     * padding, and what is damaged there is no damage. */
    size_t n = 0, n_made = 0;
    for (off_t at = 3; at < st.st_size; at += at < 5000 ? 501 : 9973) {
        uint8_t byte;
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x80;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        assert_int_equal(stat(path, &before), 0);
        assert_ids_from(gguf, dir);
        struct stat after;
        assert_int_equal(stat(path, &after), 0);
        n++;
        n_made += before.st_ino != after.st_ino;
    }
    assert_true(n > 30 && n_made >= n - 2);
    for (off_t len = 0; len < st.st_size; len += st.st_size / 5) {
        assert_int_equal(truncate(path, len), 0);
        assert_ids_from(gguf, dir);
    }
    assert_ids_from(gguf, dir);
    kl_gguf_close(gguf);
    empty_dir();
}

/* A file whose checksums are right and whose sizes are not: written by another program. */
static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    struct tiny_vocab v;
    char path[400];
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, dir);
    kept_file(path, sizeof path);
    struct kl_sections_writer *w = NULL;
    struct kl_sections file;
    struct kl_error err = {0};
    struct kl_digest key;
    const char *name = strrchr(path, '/') + 1;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &key, sizeof key, 32), sizeof key);
    close(fd);
    for (size_t i = 0; i < 7; i++) {
        /* the numbers of tokens, bytes, slots, merges, slots, slots; and one section only */
        uint64_t facts[6 + 128] = {265, 1000, 512, 8, 64, 512};
        if (i < 6)
            facts[i] = i == 0 || i == 2 ? 0 : UINT64_MAX / 8;
        assert_int_equal(kl_sections_create(dir, "tables.tmp", 1, &w, &err), KL_OK);
        assert_int_equal(kl_sections_begin(w, "facts", &err), KL_OK);
        assert_int_equal(kl_sections_write(w, facts, sizeof facts, &err), KL_OK);
        assert_int_equal(kl_sections_finish(w, name, &key, &err), KL_OK);
        assert_int_equal(kl_sections_open(&file, dir, name, &key, &err), KL_OK);
        kl_sections_close(&file);
        assert_ids_from(gguf, dir);
    }
    kl_gguf_close(gguf);
    empty_dir();
}

static void nowhere_to_keep_them_is_no_failure(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, "/proc/kinglet");
    /* another process is writing them */
    char path[400], temporary[KL_SECTIONS_NAME_SIZE + 4];
    assert_ids_from(gguf, dir);
    kept_file(path, sizeof path);
    snprintf(temporary, sizeof temporary, "%s.tmp", strrchr(path, '/') + 1);
    empty_dir();
    struct kl_sections_writer *w = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_sections_create(dir, temporary, 1, &w, &err), KL_OK);
    assert_ids_from(gguf, dir);
    kl_sections_abandon(w);
    kept_file(path, sizeof path);
    assert_string_equal(path, "");
    kl_gguf_close(gguf);
}

static void kept_tables_can_be_added_to(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    for (int round = 0; round < 2; round++) {
        struct kl_tokenizer *t = NULL;
        struct kl_error err = {0};
        int32_t id;
        size_t len;
        assert_int_equal(kl_tokenizer_open_kept(gguf, dir, &t, &err), KL_OK);
        for (int32_t i = 0; i < 300; i++) {
            char text[16];
            snprintf(text, sizeof text, "<%d>", (int)i);
            assert_int_equal(kl_tokenizer_add(t, text, strlen(text), true, &id, &err), KL_OK);
            assert_int_equal(id, 265 + i);
        }
        assert_memory_equal(kl_tokenizer_piece(t, 564, &len), "<299>", 5);
        assert_memory_equal(kl_tokenizer_piece(t, 260, &len), "hellhellhell", 12);
        kl_tokenizer_close(t);
        assert_ids_from(gguf, dir); /* the file is as it was */
    }
    kl_gguf_close(gguf);
    empty_dir();
}

/* Opening writes nothing: the model may still be refused. */
static void tables_are_kept_when_it_is_said(void **state)
{
    (void)state;
    struct tiny_vocab v;
    char path[400];
    struct kl_tokenizer *t = NULL;
    struct kl_error err = {0};
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_int_equal(kl_tokenizer_open_kept(gguf, dir, &t, &err), KL_OK);
    kept_file(path, sizeof path);
    assert_string_equal(path, "");
    assert_null(kl_tokenizer_kept_path(t));
    kl_tokenizer_keep(t, gguf, dir);
    kept_file(path, sizeof path);
    assert_string_equal(path, kl_tokenizer_kept_path(t));
    kl_tokenizer_close(t);
    kl_gguf_close(gguf);
    empty_dir();
}

/* Other metadata (here: the end token) is another file with the same tables, another merge is not.
 */
static void tables_are_shared(void **state)
{
    (void)state;
    struct tiny_vocab v;
    char first[400], second[400];
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, dir);
    kl_gguf_close(gguf);
    kept_file(first, sizeof first);
    v.eos = 264;
    gguf = tiny_gguf(&v);
    assert_ids_from(gguf, dir);
    kl_gguf_close(gguf);
    kept_file(second, sizeof second); /* fails on a second one */
    assert_string_equal(first, second);
    unlink(first);

    usual(&v);
    tiny_merge(&v, "c d");
    gguf = tiny_gguf(&v);
    struct kl_tokenizer *t = NULL;
    struct kl_error err = {0};
    if (kl_tokenizer_open_kept(gguf, dir, &t, &err) != KL_OK)
        fail_msg("%s", err.text);
    kl_tokenizer_keep(t, gguf, dir);
    kl_tokenizer_close(t);
    kl_gguf_close(gguf);
    kept_file(second, sizeof second);
    assert_string_not_equal(first, second);
    empty_dir();
}

/* The file is written over in place while it is mapped, behind its checksums: with all kinds of
 * numbers, in every part of it. Whatever comes out, it comes out, of memory that is there. */
static void tables_that_change_while_in_use(void **state)
{
    (void)state;
    static const unsigned char patterns[] = {0xFF, 0x7F, 0x00, 0x01, 0x41};
    static const char text[] =
        "hell hellhellhell hellhell abcabcabcabc \xE4\xB8\xAD\xE6\x96\x87 "
        "hellhellhellhellhellhellhellhellhellhellhellhellhellhellhellhellhell"
        "hellhellhellhellhellhellhellhellhellhellhellhellhellhellhellhellhell";
    struct tiny_vocab v;
    char path[400];
    usual(&v);
    struct kl_gguf *gguf = tiny_gguf(&v);
    assert_ids_from(gguf, dir);
    kept_file(path, sizeof path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    size_t size = (size_t)st.st_size, n_refused = 0, head = 64 + 9 * 128;
    unsigned char *whole = malloc(size), *piece = malloc(size);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, whole, size, 0), size);
    for (size_t round = 0; round < 5 * 18; round++) {
        struct kl_tokenizer *t = NULL;
        struct kl_error err = {0};
        struct kl_tokens ids = {0};
        const struct kl_span span = {.text = text, .len = sizeof text - 1, .special = true};
        if (kl_tokenizer_open_kept(gguf, dir, &t, &err) != KL_OK)
            fail_msg("%s", err.text);
        assert_non_null(kl_tokenizer_kept_path(t));
        /* all of it, then sixteenths, then what counts up: an index everywhere, no slot empty */
        size_t part = round / 5, step = (size - head) / 16;
        size_t from = part == 0 || part == 17 ? head : head + (part - 1) * step;
        size_t len = part == 0 || part == 17 ? size - head : step;
        for (size_t i = 0; i < len; i++)
            piece[i] = part < 17 ? patterns[round % 5] : (unsigned char)(i * 2654435761u >> 24);
        assert_int_equal(pwrite(fd, piece, len, (off_t)from), len);
        enum kl_status status = kl_tokenizer_encode(t, &span, 1, &ids, &err);
        if (status != KL_OK) {
            assert_int_equal(status, KL_ERR_FORMAT);
            assert_non_null(strstr(err.text, "changed while it was in use"));
            n_refused++;
        }
        for (size_t i = 0; i < ids.len; i++) {
            size_t n;
            assert_true(ids.ids[i] >= 0 && (size_t)ids.ids[i] < kl_tokenizer_size(t));
            const char *bytes = kl_tokenizer_piece(t, ids.ids[i], &n);
            assert_true(n <= KL_TOKEN_MAX_BYTES);
            volatile char sum = 0;
            for (size_t j = 0; j < n; j++)
                sum = (char)(sum + bytes[j]);
        }
        (void)kl_tokenizer_find(t, "hell", 4);
        int32_t id;
        (void)kl_tokenizer_add(t, "<new>", 5, true, &id, &err);
        kl_tokens_release(&ids);
        kl_tokenizer_close(t);
        assert_int_equal(pwrite(fd, whole, size, 0), size);
    }
    assert_true(n_refused > 0);
    close(fd);
    free(whole);
    free(piece);
    kl_gguf_close(gguf);
    empty_dir();
}

/* Words of all lengths, at the end of what may be read and before more. */
static void words_are_found(void **state)
{
    (void)state;
    enum { N = 26 };
    struct kl_words words;
    struct kl_error err = {0};
    assert_int_equal(kl_words_init(&words, N * KL_WORD_MAX_BYTES, &err), KL_OK);
    char text[KL_WORD_MAX_BYTES + 20];
    for (int32_t i = 0; i < N; i++) {
        memset(text, 'a' + i, sizeof text);
        for (size_t len = 1; len <= KL_WORD_MAX_BYTES; len++)
            kl_words_add(&words, text, len, i * 100 + (int32_t)len);
    }
    for (int32_t i = 0; i < N; i++) {
        for (size_t len = 1; len <= KL_WORD_MAX_BYTES; len++) {
            char *exact = malloc(len); /* AddressSanitizer sees a byte too many */
            assert_non_null(exact);
            memset(exact, 'a' + i, len);
            memset(text, 'z' - i, sizeof text);
            memcpy(text, exact, len);
            struct kl_word_key key = kl_word_key(exact, len, len);
            assert_int_equal(kl_words_find(&words, key, kl_word_hash(key)), i * 100 + (int32_t)len);
            key = kl_word_key(text, len, sizeof text);
            assert_int_equal(kl_words_find(&words, key, kl_word_hash(key)), i * 100 + (int32_t)len);
            text[len - 1] = '?';
            key = kl_word_key(text, len, sizeof text);
            assert_int_equal(kl_words_find(&words, key, kl_word_hash(key)), -1);
            free(exact);
        }
    }
    /* a zero byte is a byte: not the same as a shorter word */
    struct kl_word_key zero = kl_word_key("a\0\0\0\0\0\0\0\0\0\0", 2, 12);
    assert_int_equal(kl_words_find(&words, zero, kl_word_hash(zero)), -1);
    kl_words_release(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_kept_and_used),
        cmocka_unit_test(tables_of_another_rule_are_others),
        cmocka_unit_test(damaged_tables_are_made_again),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(nowhere_to_keep_them_is_no_failure),
        cmocka_unit_test(kept_tables_can_be_added_to),
        cmocka_unit_test(tables_are_kept_when_it_is_said),
        cmocka_unit_test(tables_are_shared),
        cmocka_unit_test(tables_that_change_while_in_use),
        cmocka_unit_test(words_are_found),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

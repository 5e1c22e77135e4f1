/* src/format/digest.c: which changes of a file change its digests, and what the index remembers,
 * and for how long. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/digest.h"

static char dir[64], index_path[96], model[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(index_path, sizeof index_path, "%s/" KL_DIGEST_INDEX, dir);
    snprintf(model, sizeof model, "%s/model.gguf", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(index_path);
    unlink(model);
    return rmdir(dir);
}

/* ---- the index: of any files ----------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static struct kl_mapped_file map_file(const char *path)
{
    struct kl_mapped_file file;
    struct kl_error err;
    if (kl_mapped_file_open(&file, path, &err) != KL_OK)
        fail_msg("%s", err.text);
    return file;
}

static const struct kl_digest first = {{1, 2, 0xFF}}, second = {{3, 4, 0x80}};

/* As if the file was that of yesterday. */
#define LATER (kl_digest_now() + INT64_C(1000000000))

static void what_is_remembered_is_recalled(void **state)
{
    (void)state;
    struct kl_digest found;
    write_file(model, "weights");
    struct kl_mapped_file file = map_file(model);
    assert_false(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, LATER);
    kl_digest_remember(dir, &file, KL_DIGEST_VOCABULARY, &second, LATER);
    assert_true(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    assert_memory_equal(&found, &first, sizeof found);
    assert_true(kl_digest_recall(dir, &file, KL_DIGEST_VOCABULARY, &found));
    assert_memory_equal(&found, &second, sizeof found);
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &second, LATER);
    assert_true(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    assert_memory_equal(&found, &second, sizeof found);
    kl_mapped_file_close(&file);
    struct stat st;
    assert_int_equal(stat(index_path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* Every field of what a file is known by. */
static void a_file_that_changed_is_another(void **state)
{
    (void)state;
    struct kl_digest found;
    write_file(model, "weights");
    struct kl_mapped_file file = map_file(model);
    const struct kl_file_identity id = file.identity;
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, LATER);
    assert_true(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    for (int i = 0; i < 5; i++) {
        file.identity = id;
        *(i == 0   ? (int64_t *)&file.identity.device
          : i == 1 ? (int64_t *)&file.identity.inode
          : i == 2 ? (int64_t *)&file.identity.size
          : i == 3 ? &file.identity.modified
                   : &file.identity.changed) += 1;
        assert_false(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    }
    kl_mapped_file_close(&file);
}

/* A change after reading began must show: not where the file was changed just before, or since. */
static void what_may_be_out_of_date_is_not_remembered(void **state)
{
    (void)state;
    struct kl_digest found;
    write_file(model, "weights");
    struct kl_mapped_file file = map_file(model);
    unlink(index_path);
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, file.identity.changed);
    assert_int_equal(access(index_path, F_OK), -1);
    assert_int_equal(chmod(model, 0400), 0); /* its time of change is another */
    struct kl_file_identity now;
    assert_true(kl_mapped_file_identity(&file, &now));
    if (now.changed == file.identity.changed) /* in the same tick of the clock */
        file.identity.changed--;
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, LATER);
    assert_int_equal(access(index_path, F_OK), -1);
    assert_false(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    kl_mapped_file_close(&file);
    assert_int_equal(chmod(model, 0600), 0);
}

/* Every byte of the index, and every length of it: what does not fit to its checksum is empty. */
/* Of a long name the beginning, whole characters of it. */
static void long_names_are_cut(void **state)
{
    (void)state;
    for (size_t len = 90; len < 120; len++) {
        char path[256], names[512], digits[KL_DIGEST_DIGITS + 1];
        struct kl_digest digest = {{(uint8_t)len}};
        size_t at = (size_t)snprintf(path, sizeof path, "%s/", dir), begin = at;
        for (; at < begin + len; at++)
            path[at] = 'a';
        strcpy(path + at, "\xe4\xbd\xa0");
        write_file(path, "weights");
        struct kl_mapped_file file = map_file(path);
        kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &digest, LATER);
        kl_digest_text(&digest, digits);
        kl_digest_names(dir, digits, names, sizeof names);
        size_t shown = strlen(names);
        assert_true(shown >= 90 && shown <= 100);
        assert_memory_equal(names, path + begin, shown);
        assert_int_equal(shown, len + 3 <= 100 ? len + 3 : len < 100 ? len : 100);
        kl_mapped_file_close(&file);
        unlink(path);
    }
}

static void a_damaged_index_is_empty(void **state)
{
    (void)state;
    struct kl_digest found;
    char text[2048];
    write_file(model, "weights");
    struct kl_mapped_file file = map_file(model);
    unlink(index_path);
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, LATER);
    int fd = open(index_path, O_RDWR);
    ssize_t len = pread(fd, text, sizeof text, 0);
    assert_true(len > 100);
    for (ssize_t i = 0; i < len; i++) {
        for (int bit = 0; bit < 8; bit += 3) {
            char byte = (char)(text[i] ^ (1 << bit));
            assert_int_equal(pwrite(fd, &byte, 1, i), 1);
            bool known = kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found);
            /* of the checksum's line the letter's case and the line's end say nothing */
            if (known && (i < len - 18 || memcmp(&found, &first, sizeof found) != 0))
                fail_msg("byte %zd, bit %d", i, bit);
        }
        assert_int_equal(pwrite(fd, text + i, 1, i), 1);
    }
    assert_true(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    for (ssize_t i = 0; i < len - 1; i++) {
        assert_int_equal(ftruncate(fd, i), 0);
        assert_false(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
        assert_int_equal(pwrite(fd, text, (size_t)len, 0), len);
    }
    close(fd);
    /* too long, and not text */
    char *large = malloc(1 << 20);
    memset(large, 'x', 1 << 20);
    large[(1 << 20) - 1] = '\0';
    write_file(index_path, large);
    assert_false(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    free(large);
    kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, LATER);
    assert_true(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found));
    kl_mapped_file_close(&file);
}

/* The newest are kept, and names of files are text. */
static void the_index_does_not_grow_for_ever(void **state)
{
    (void)state;
    struct kl_digest found;
    struct stat st;
    unlink(index_path);
    char path[200];
    for (int i = 0; i < 200; i++) {
        snprintf(path, sizeof path, "%s/%03d\n\x1b[2J%0*d.gguf", dir, i, 90, 0);
        write_file(path, "weights");
        struct kl_mapped_file file = map_file(path);
        struct kl_digest digest = {{(uint8_t)i}};
        kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &digest, LATER);
        kl_mapped_file_close(&file);
    }
    assert_int_equal(stat(index_path, &st), 0);
    assert_true(st.st_size < 128 * 320);
    for (int i = 0; i < 200; i++) {
        snprintf(path, sizeof path, "%s/%03d\n\x1b[2J%0*d.gguf", dir, i, 90, 0);
        struct kl_mapped_file file = map_file(path);
        assert_int_equal(kl_digest_recall(dir, &file, KL_DIGEST_TENSORS, &found), i >= 200 - 128);
        kl_mapped_file_close(&file);
        unlink(path);
    }
    struct kl_digest last = {{199}};
    char digits[KL_DIGEST_DIGITS + 1], names[300];
    kl_digest_text(&last, digits);
    kl_digest_names(dir, digits, names, sizeof names);
    assert_memory_equal(names, "199??[2J000", 11);
    kl_digest_names(dir, "00000000000000000000000000000000", names, sizeof names);
    assert_string_equal(names, "");
}

static void names_are_listed(void **state)
{
    (void)state;
    unlink(index_path);
    static const char *const files[] = {"one.gguf", "two.gguf"};
    char path[100], digits[KL_DIGEST_DIGITS + 1], names[100];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        write_file(path, "weights");
        struct kl_mapped_file file = map_file(path);
        kl_digest_remember(dir, &file, KL_DIGEST_TENSORS, &first, LATER);
        kl_mapped_file_close(&file);
        unlink(path);
    }
    kl_digest_text(&first, digits);
    assert_string_equal(digits, "0102ff00000000000000000000000000");
    kl_digest_names(dir, digits, names, sizeof names);
    assert_true(strcmp(names, "one.gguf, two.gguf") == 0 || strcmp(names, "two.gguf") == 0);
    kl_digest_names(dir, digits, names, 12); /* only one fits */
    assert_true(strlen(names) == 8);
}

/* ---- of a model ------------------------------------------------------------------------------ */

static struct kl_digest tensors_of(const struct kl_gguf *gguf, size_t n_threads, bool backwards)
{
    struct kl_tensor_digests d;
    struct kl_error err;
    struct kl_pool *pool;
    assert_int_equal(kl_pool_open(n_threads, &pool, &err), KL_OK);
    assert_int_equal(kl_tensor_digests_init(&d, gguf, &err), KL_OK);
    size_t n = kl_gguf_n_tensors(gguf);
    for (size_t i = 0; i < n; i++)
        kl_tensor_digests_add(&d, kl_gguf_tensor_at(gguf, backwards ? n - 1 - i : i), pool);
    struct kl_digest all = kl_tensor_digests_all(&d);
    kl_tensor_digests_release(&d);
    kl_pool_close(pool);
    return all;
}

static void every_tensor_counts(void **state)
{
    (void)state;
    const char *tiny = getenv("KINGLET_TEST_TINY_MODEL");
    if (tiny == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    struct kl_mapped_file whole = map_file(tiny);
    struct kl_gguf *gguf = NULL;
    struct kl_error err;
    assert_int_equal(kl_gguf_open(tiny, &gguf, &err), KL_OK);
    const struct kl_digest all = tensors_of(gguf, 1, false);
    struct kl_digest vocabulary, other = tensors_of(gguf, 3, true);
    assert_memory_equal(&all, &other, sizeof all);
    assert_int_equal(kl_digest_vocabulary(gguf, &vocabulary, &err), KL_OK);

    size_t n = kl_gguf_n_tensors(gguf), ends[64];
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(gguf, i);
        ends[i] = (size_t)(t->data - kl_gguf_file(gguf)->data) + t->size;
    }
    kl_gguf_close(gguf);
    int fd = open(model, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, whole.data, whole.size), whole.size);
    for (size_t i = 0; i < n; i++) { /* the last byte of each */
        uint8_t byte = whole.data[ends[i] - 1] ^ 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)ends[i] - 1), 1);
        assert_int_equal(kl_gguf_open(model, &gguf, &err), KL_OK);
        other = tensors_of(gguf, 1, false);
        assert_memory_not_equal(&all, &other, sizeof all);
        assert_int_equal(kl_digest_vocabulary(gguf, &other, &err), KL_OK);
        assert_memory_equal(&other, &vocabulary, sizeof other);
        kl_gguf_close(gguf);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)ends[i] - 1), 1);
    }
    close(fd);
    kl_mapped_file_close(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_remembered_is_recalled),
        cmocka_unit_test(a_file_that_changed_is_another),
        cmocka_unit_test(what_may_be_out_of_date_is_not_remembered),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(a_damaged_index_is_empty),
        cmocka_unit_test(the_index_does_not_grow_for_ever),
        cmocka_unit_test(names_are_listed),
        cmocka_unit_test(every_tensor_counts),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

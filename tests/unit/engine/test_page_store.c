/* src/engine/page_store.c, page_file.c and page_index.c, on a disk that works */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk_pages.h"
#include "engine/page_index.h"

static bool same(struct kl_page_key a, struct kl_page_key b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static enum kl_status open_as(const char *path, const char *identity, size_t page_bytes,
                              uint64_t max_bytes, struct kl_page_store **store,
                              struct kl_error *err)
{
    struct kl_page_store_options options = {.dir = path,
                                            .identity = identity,
                                            .identity_size = strlen(identity),
                                            .page_bytes = page_bytes,
                                            .max_bytes = max_bytes};
    return kl_page_store_open(&options, store, err);
}

static void keys_cover_all_that_a_page_depends_on(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1), other = first_page(store, 2);
    struct kl_page_key root = kl_page_store_root(store, 0);
    assert_true(same(p.key, kl_page_key_next(&root, p.tokens)));
    assert_false(same(p.key, other.key));
    assert_false(same(kl_page_key_next(&p.key, p.tokens), kl_page_key_next(&other.key, p.tokens)));
    assert_false(same(root, kl_page_store_root(store, 1)));
    p.tokens[KL_KV_PAGE_TOKENS - 1] ^= 1;
    assert_false(same(p.key, kl_page_key_next(&root, p.tokens)));
    kl_page_store_close(store);

    struct kl_error err;
    assert_int_equal(open_as(dir, "another model", PAGE_BYTES, CAP(8), &store, &err), KL_OK);
    assert_false(same(root, kl_page_store_root(store, 0)));
    kl_page_store_close(store);
    assert_int_equal(open_as(dir, "a model", PAGE_BYTES + 1, CAP(8), &store, &err), KL_OK);
    assert_false(same(root, kl_page_store_root(store, 0)));
    kl_page_store_close(store);
    store = store_open(CAP(8));
    assert_true(same(root, kl_page_store_root(store, 0)));
    kl_page_store_close(store);
}

static void gives_back_what_was_put(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page a = first_page(store, 1), b = page_after(&a.key, 1), c = page_after(&b.key, 1);
    assert_false(page_get(store, &a));
    assert_true(page_put(store, &a) && page_put(store, &b) && page_put(store, &c));
    assert_true(page_get(store, &c)); /* queued or written */
    kl_page_store_flush(store);
    assert_true(page_get(store, &a) && page_get(store, &b) && page_get(store, &c));
    assert_true(page_put(store, &a)); /* stored already: not written again */
    kl_page_store_flush(store);

    struct disk_page d = page_after(&c.key, 1);
    struct kl_page_key root = kl_page_store_root(store, 5);
    struct disk_page foreign = page_after(&root, 1);
    assert_false(page_get(store, &d) || page_get(store, &foreign));

    struct kl_page_store_stats stats = store_stats(store);
    assert_true(stats.on);
    assert_int_equal(stats.pages, 3);
    assert_int_equal(stats.bytes, CAP(3));
    assert_int_equal(stats.max_bytes, CAP(8));
    assert_int_equal(stats.written, 3);
    assert_int_equal(stats.hits, 4);
    assert_int_equal(stats.misses, 3);
    assert_int_equal(stats.queued + stats.dropped + stats.damaged + stats.evicted, 0);
    assert_int_equal(count_files(""), 3);
    assert_true(kl_page_store_memory(store) > stats.max_queued * PAGE_BYTES);
    kl_page_store_close(store);
}

static void the_queue_takes_little_memory(void **state)
{
    (void)state;
    static const struct {
        size_t page_bytes, max_queued;
    } cases[] = {{100, 256}, {208896, 30}, {393216, 15}, {1 << 20, 5}, {4 << 20, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kl_page_store *store;
        struct kl_error err;
        assert_int_equal(open_as(dir, "m", cases[i].page_bytes, 100 << 20, &store, &err), KL_OK);
        assert_int_equal(store_stats(store).max_queued, cases[i].max_queued);
        kl_page_store_close(store);
    }
}

/* Pages of two models: files of 128 and of 256 KiB. */
#define SMALL_BYTES ((size_t)31 * KL_PAGE_FILE_BLOCK)
#define LARGE_BYTES ((size_t)63 * KL_PAGE_FILE_BLOCK)

static bool put_number(struct kl_page_store *store, int32_t n)
{
    static const uint8_t page[LARGE_BYTES];
    const int32_t tokens[KL_KV_PAGE_TOKENS] = {n};
    const struct kl_page_key root = kl_page_store_root(store, 0);
    bool put = kl_page_store_put(store, &root, tokens, page, false);
    kl_page_store_flush(store);
    return put;
}

static bool get_number(struct kl_page_store *store, int32_t n)
{
    static uint8_t page[LARGE_BYTES];
    const int32_t tokens[KL_KV_PAGE_TOKENS] = {n};
    const struct kl_page_key root = kl_page_store_root(store, 0);
    return kl_page_store_get(store, &root, tokens, page, false);
}

static uint64_t bytes_on_disk(void)
{
    uint64_t bytes = 0;
    struct dirent *entry;
    struct stat st;
    DIR *d = opendir(dir);
    while ((entry = readdir(d)) != NULL) {
        if (fstatat(dirfd(d), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_size;
    }
    closedir(d);
    return bytes;
}

/* Stores of two models in one process: the pages of both are kept, within one cap. */
static void models_share_the_cap(void **state)
{
    (void)state;
    _Atomic(uint64_t) written = 0;
    const uint64_t file = (uint64_t)128 << 10, cap = 32 * file;
    struct kl_page_store_options options = {.dir = dir,
                                            .identity = "small",
                                            .identity_size = 5,
                                            .page_bytes = SMALL_BYTES,
                                            .max_bytes = cap,
                                            .written = &written};
    struct kl_page_store *small, *large;
    struct kl_error err;
    assert_int_equal(kl_page_store_open(&options, &small, &err), KL_OK);
    options.identity = "large";
    options.page_bytes = LARGE_BYTES;
    assert_int_equal(kl_page_store_open(&options, &large, &err), KL_OK);
    for (int32_t i = 0; i < 20; i++) {
        for (int32_t j = 0; j < 3; j++)
            assert_true(put_number(small, 3 * i + j));
        assert_true(put_number(large, i));
        /* of each a part of 1/KL_PAGE_STORE_SLACK, and the page that is written after it */
        assert_in_range(bytes_on_disk(), 0, cap + 2 * (cap / KL_PAGE_STORE_SLACK) + 3 * file);
    }
    assert_int_equal(written, 20 * 5 * file);
    for (int32_t i = 0; i < 12; i++)
        assert_true(get_number(small, 59 - i));
    assert_true(get_number(large, 19) && get_number(large, 16));
    kl_page_store_close(small);
    kl_page_store_close(large);
}

static void survives_a_restart(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(20));
    struct disk_page pages[10];
    for (int32_t i = 0; i < 10; i++) {
        pages[i] = first_page(store, i);
        assert_true(page_put(store, &pages[i]));
    }
    kl_page_store_close(store); /* writes what is queued */
    assert_int_equal(count_files(""), 10);

    struct kl_error err; /* another model finds nothing and changes nothing */
    assert_int_equal(open_as(dir, "other", PAGE_BYTES, CAP(20), &store, &err), KL_OK);
    struct disk_page foreign = first_page(store, 3);
    assert_false(page_get(store, &foreign));
    assert_int_equal(store_stats(store).pages, 10);
    kl_page_store_close(store);

    store = store_open(CAP(20));
    assert_int_equal(store_stats(store).pages, 10);
    for (int32_t i = 0; i < 10; i++)
        assert_true(page_get(store, &pages[i]));
    kl_page_store_close(store);
    store = store_open(CAP(4)); /* a smaller cap: those used last */
    assert_int_equal(store_stats(store).pages, 4);
    assert_int_equal(count_files(""), 4);
    for (int32_t i = 0; i < 10; i++)
        assert_int_equal(page_get(store, &pages[i]), i >= 6);
    kl_page_store_close(store);
}

static void put_all(struct kl_page_store *store, const struct disk_page *pages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        page_put(store, &pages[i]);
        kl_page_store_flush(store);
        assert_true(count_files("") <= 4);
    }
}

static void the_least_recently_used_are_removed_first(void **state)
{
    (void)state;
    struct disk_page p[8];
    for (int restart = 0; restart < 2; restart++) {
        struct kl_page_store *store = store_open(CAP(4) + 4095);
        for (int32_t i = 0; i < 8; i++)
            p[i] = first_page(store, 100 * restart + i);
        put_all(store, p, 4);
        assert_true(page_get(store, &p[1]) && page_get(store, &p[0]));
        if (restart) {
            kl_page_store_close(store);
            store = store_open(CAP(4));
        }
        put_all(store, &p[4], 2); /* instead of 2 and 3 */
        assert_false(page_is_on_disk(&p[2]) || page_is_on_disk(&p[3]));
        assert_true(page_get(store, &p[1]) && page_get(store, &p[0]));
        put_all(store, &p[6], 2); /* instead of 4 and 5 */
        assert_true(page_get(store, &p[1]) && page_get(store, &p[0]));
        assert_true(page_get(store, &p[6]) && page_get(store, &p[7]));
        assert_int_equal(store_stats(store).bytes, CAP(4));
        kl_page_store_close(store);
    }
}

/* A page is useless without the page before it. */
static void no_page_is_removed_before_those_that_continue_it(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(4));
    struct disk_page a = first_page(store, 1), b = page_after(&a.key, 1), c = page_after(&b.key, 1);
    const struct disk_page chain[] = {a, b, c, page_after(&c.key, 1), page_after(&c.key, 2)};
    put_all(store, chain, 4);
    for (int32_t i = 0; i < 3; i++) {
        struct disk_page other = first_page(store, 10 + i);
        put_all(store, &other, 1);
        for (int32_t k = 0; k < 4; k++)
            assert_int_equal(page_is_on_disk(&chain[k]), k < 3 - i);
    }
    kl_page_store_close(store);
}

/* More pages of one text than fit: those that fit stay, and the rest is not written. */
static void a_text_longer_than_the_cap(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(4));
    struct disk_page p[7];
    for (int32_t i = 0; i < 7; i++)
        p[i] = i == 0 ? first_page(store, 0) : page_after(&p[i - 1].key, i);
    put_all(store, p, 7);
    for (int32_t i = 0; i < 7; i++)
        assert_int_equal(page_get(store, &p[i]), i < 4);
    assert_int_equal(store_stats(store).written, 4);
    assert_int_equal(store_stats(store).dropped, 3);
    assert_int_equal(store_stats(store).evicted, 0);
    kl_page_store_close(store);
}

static void a_page_whose_parent_is_not_stored(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(4));
    struct disk_page a = first_page(store, 1), b = page_after(&a.key, 1), c = page_after(&b.key, 1);
    assert_false(page_put(store, &b) || page_put(store, &c));
    assert_true(page_put(store, &a) && page_put(store, &b) && page_put(store, &c));
    kl_page_store_flush(store);
    assert_int_equal(store_stats(store).written, 3);
    assert_int_equal(store_stats(store).dropped, 2);
    kl_page_store_close(store);
}

static void background_is_removed_before_interactive(void **state)
{
    (void)state;
    struct disk_page p[8];
    for (int restart = 0; restart < 2; restart++) {
        struct kl_page_store *store = store_open(CAP(4));
        for (int32_t i = 0; i < 8; i++)
            p[i] = first_page(store, 100 * restart + i);
        put_all(store, p, 4);                         /* pages of earlier rounds are older */
        assert_true(page_get_as(store, &p[0], true)); /* stays interactive */
        assert_true(page_put_background(store, &p[4]) && page_put_background(store, &p[5]));
        kl_page_store_flush(store); /* 5 came instead of 4 */
        assert_true(page_get_as(store, &p[5], true));
        if (restart) {
            kl_page_store_close(store);
            store = store_open(CAP(4));
        }
        put_all(store, &p[6], 1); /* instead of 5, which was used last */
        assert_false(page_is_on_disk(&p[4]) || page_is_on_disk(&p[5]));
        assert_true(page_is_on_disk(&p[1]) && page_is_on_disk(&p[2]) && page_is_on_disk(&p[3]));
        assert_true(page_put_background(store, &p[5]));
        kl_page_store_flush(store);
        assert_true(page_get(store, &p[5])); /* not background any more */
        put_all(store, &p[7], 1);
        assert_true(page_is_on_disk(&p[5]));
        kl_page_store_close(store);
    }
}

/* The old file is removed first: some file systems sync when a file is replaced. */
static void write_file(const char *path, const uint8_t *data, size_t size)
{
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

static void read_file(const char *path, uint8_t *data, size_t size)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, size), size);
    close(fd);
}

/* The page is in the index, and its file is invalid. */
static void expect_damage(struct kl_page_store *store, const struct disk_page *p)
{
    uint64_t before = store_stats(store).damaged;
    assert_false(page_get(store, p));
    assert_int_equal(store_stats(store).damaged, before + 1);
    assert_false(page_is_on_disk(p));
    assert_false(page_get(store, p)); /* is removed, and counted once */
    assert_int_equal(store_stats(store).damaged, before + 1);
    assert_true(page_put(store, p));
    kl_page_store_flush(store);
    assert_true(page_is_on_disk(p));
}

static void any_damage_is_found(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1), other = first_page(store, 2);
    uint8_t good[FILE_SIZE], bad[FILE_SIZE + 1];
    char path[PATH_MAX], other_path[PATH_MAX];
    page_path(&p, path);
    page_path(&other, other_path);
    assert_true(page_put(store, &p) && page_put(store, &other));
    kl_page_store_flush(store);
    read_file(path, good, sizeof good);
    for (size_t i = 0; i < FILE_SIZE; i++) {
        memcpy(bad, good, sizeof good);
        bad[i] ^= (uint8_t)(1 << i % 8);
        write_file(path, bad, FILE_SIZE);
        expect_damage(store, &p);
    }
    for (size_t size = 0; size <= FILE_SIZE + 1; size += size < 200 ? 1 : 89) {
        if (size == FILE_SIZE)
            continue;
        memset(bad, 0, sizeof bad);
        memcpy(bad, good, size < FILE_SIZE ? size : FILE_SIZE);
        write_file(path, bad, size);
        expect_damage(store, &p);
    }
    for (size_t block = 0; block < FILE_SIZE; block += 512) { /* torn: a block never arrived */
        memcpy(bad, good, sizeof good);
        memset(bad + block, 0, FILE_SIZE - block < 512 ? FILE_SIZE - block : 512);
        write_file(path, bad, FILE_SIZE);
        expect_damage(store, &p);
    }
    read_file(other_path, bad, FILE_SIZE); /* whole, but another page */
    write_file(path, bad, FILE_SIZE);
    expect_damage(store, &p);
    write_file(path, good, FILE_SIZE);
    assert_true(page_get(store, &p) && page_get(store, &other));
    kl_page_store_close(store);
}

/* A reader that stops at a damaged page computes the pages after it, too: one start repairs all. */
static void pages_that_were_not_read_are_replaced(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(3)); /* all that fits */
    struct disk_page a = first_page(store, 1), b = page_after(&a.key, 1), c = page_after(&b.key, 1);
    const struct disk_page chain[] = {a, b, c};
    char path[PATH_MAX];
    put_all(store, chain, 3);
    kl_page_store_close(store);
    page_path(&b, path);
    write_file(path, b.content, PAGE_BYTES);
    page_path(&c, path);
    write_file(path, b.content, PAGE_BYTES);

    store = store_open(CAP(3));
    assert_true(page_get(store, &a));
    assert_false(page_get(store, &b));
    put_all(store, chain, 3);
    assert_int_equal(store_stats(store).written, 2);
    assert_int_equal(store_stats(store).evicted, 0);
    put_all(store, chain, 3); /* all are good now */
    assert_int_equal(store_stats(store).written, 2);
    kl_page_store_close(store);
    store = store_open(CAP(3));
    assert_true(page_get(store, &a) && page_get(store, &b) && page_get(store, &c));
    kl_page_store_close(store);
}

static void names_that_are_not_files(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1);
    char path[PATH_MAX], elsewhere[sizeof top + 8];
    page_path(&p, path);
    snprintf(elsewhere, sizeof elsewhere, "%s/victim", top);
    assert_true(page_put(store, &p));
    kl_page_store_flush(store);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    expect_damage(store, &p);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_damage(store, &p);
    assert_int_equal(access(elsewhere, F_OK), 0);
    kl_page_store_close(store);

    /* at the start: left alone, as is what has other names */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    char note[sizeof dir + 8];
    snprintf(note, sizeof note, "%s/note", dir);
    write_file(note, (const uint8_t *)"x", 1);
    store = store_open(CAP(8));
    assert_int_equal(store_stats(store).pages, 0);
    assert_false(page_get(store, &p));
    assert_int_equal(access(note, F_OK), 0);
    kl_page_store_close(store);
    assert_int_equal(unlink(elsewhere), 0);
}

static void files_that_others_removed(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1);
    char path[PATH_MAX];
    page_path(&p, path);
    assert_true(page_put(store, &p));
    kl_page_store_flush(store);
    assert_int_equal(unlink(path), 0);
    assert_false(page_get(store, &p));
    assert_int_equal(store_stats(store).damaged, 0);
    assert_int_equal(store_stats(store).pages, 0);
    assert_true(page_put(store, &p));
    kl_page_store_flush(store);
    assert_true(page_get(store, &p));
    kl_page_store_close(store);
}

static void other_users_may_not_read(void **state)
{
    (void)state;
    mode_t old = umask(0);
    struct stat st;
    char path[PATH_MAX];
    assert_true(mkdir(dir, 0777) == 0);
    struct kl_page_store *store = store_open(CAP(8));
    struct disk_page p = first_page(store, 1);
    page_path(&p, path);
    assert_true(page_put(store, &p));
    kl_page_store_flush(store);
    umask(old);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    kl_page_store_close(store);
}

static void refuses_unusable_directories(void **state)
{
    (void)state;
    struct kl_page_store *store;
    struct kl_error err;
    /* the directory of another user: root's, or if we are root one that we give away */
    const char *other = "/usr";
    if (geteuid() == 0) {
        assert_int_equal(mkdir(dir, 0700), 0);
        assert_int_equal(chown(dir, 1, 1), 0);
        other = dir;
    }
    assert_int_equal(open_as(other, "m", PAGE_BYTES, CAP(8), &store, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, other));
    assert_non_null(strstr(err.text, "belongs to user"));
    assert_null(store);

    char path[sizeof top + 16], below[sizeof top + 32];
    snprintf(path, sizeof path, "%s/file", top);
    snprintf(below, sizeof below, "%s/pages", path);
    write_file(path, (const uint8_t *)"x", 1);
    assert_int_equal(open_as(path, "m", PAGE_BYTES, CAP(8), &store, &err), KL_ERR_IO);
    assert_int_equal(open_as(below, "m", PAGE_BYTES, CAP(8), &store, &err), KL_ERR_IO);
    assert_non_null(strstr(err.text, path));
    snprintf(path, sizeof path, "%s/link", top);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(open_as(path, "m", PAGE_BYTES, CAP(8), &store, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "symbolic link"));

    snprintf(path, sizeof path, "%s/small", top);
    assert_int_equal(open_as(path, "m", PAGE_BYTES, 4095, &store, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "4095 bytes"));
    assert_int_equal(open_as(path, "m", SIZE_MAX - 8, CAP(8), &store, &err), KL_ERR_INVALID);
    assert_null(store);
}

/* Two servers share a directory; two stores are two holders of its lock. */
static void two_at_a_time(void **state)
{
    (void)state;
    struct kl_page_store *one = store_open(CAP(200)), *two = store_open(CAP(200));
    struct disk_page shared = first_page(one, 1);
    assert_true(page_put(one, &shared));
    kl_page_store_flush(one);
    assert_false(page_get(two, &shared)); /* not yet */
    assert_true(page_put(two, &shared));  /* writes it once more: the same */
    kl_page_store_flush(two);
    assert_true(page_get(one, &shared) && page_get(two, &shared));
    struct disk_page news = first_page(one, 2);
    assert_true(page_put(one, &news));
    kl_page_store_flush(one);
    for (int32_t i = 0; i < KL_PAGE_STORE_RESCAN; i++) {
        struct disk_page p = first_page(two, 100 + i);
        assert_true(page_put(two, &p));
        kl_page_store_flush(two);
    }
    assert_true(page_get(two, &news));
    kl_page_store_close(one);
    kl_page_store_close(two);

    one = store_open(CAP(8));
    two = store_open(CAP(8));
    struct disk_page p[8];
    for (int32_t i = 0; i < 8; i++) {
        p[i] = first_page(one, 1000 + i);
        assert_true(page_put(one, &p[i]));
    }
    kl_page_store_flush(one);
    for (int32_t i = 0; i < 3 * KL_PAGE_STORE_RESCAN; i++) {
        struct disk_page q = first_page(two, 2000 + i);
        assert_true(page_put(two, &q));
        kl_page_store_flush(two);
    }
    assert_true(count_files("") <= 8);
    for (int32_t i = 0; i < 8; i++)
        assert_false(page_get(one, &p[i])); /* the other one's pages came instead */
    assert_int_equal(store_stats(one).damaged, 0);
    kl_page_store_close(one);
    kl_page_store_close(two);
}

static void removes_what_was_left_half_written(void **state)
{
    (void)state;
    struct kl_page_store *store = store_open(CAP(8)), *second;
    char path[sizeof dir + 64];
    snprintf(path, sizeof path, "%s/" KL_PAGE_TEMPORARY "0123456789abcdef", dir);
    write_file(path, (const uint8_t *)"x", 1);
    second = store_open(CAP(8)); /* the first one could be writing it */
    assert_int_equal(access(path, F_OK), 0);
    kl_page_store_close(store);
    kl_page_store_close(second);
    store = store_open(CAP(8));
    assert_int_not_equal(access(path, F_OK), 0);
    kl_page_store_close(store);
}

/* Against a plain list, with keys that collide often. */
static void the_index_is_a_map(void **state)
{
    (void)state;
    enum { KEYS = 40 };
    struct kl_page_index index;
    struct kl_error err;
    bool there[KEYS] = {false};
    uint64_t x = 7, bytes = 0;
    size_t n = 0;
    assert_int_equal(kl_page_index_init(&index, KEYS / 2, &err), KL_OK);
    for (int step = 0; step < 20000; step++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint8_t k = (uint8_t)((x >> 40) % KEYS);
        struct kl_page_entry entry = {.used = k, .size = k};
        entry.key.bytes[0] = k % 5; /* where the search begins */
        entry.key.bytes[20] = k;
        if (there[k] || n == KEYS / 2) {
            assert_int_equal(kl_page_index_remove(&index, &entry.key), there[k]);
            n -= there[k];
            bytes -= there[k] ? k : 0;
            there[k] = false;
        } else {
            kl_page_index_insert(&index, &entry);
            there[k] = true;
            n++;
            bytes += k;
        }
        assert_int_equal(index.n, n);
        assert_int_equal(index.bytes, bytes);
        for (uint8_t i = 0; i < KEYS; i++) {
            struct kl_page_key key = {.bytes = {i % 5}};
            key.bytes[20] = i;
            const struct kl_page_entry *found = kl_page_index_find(&index, &key);
            assert_int_equal(found != NULL, there[i]);
            assert_true(found == NULL || found->used == i);
        }
    }
    kl_page_index_clear(&index);
    assert_null(kl_page_index_oldest(&index, NULL));
    kl_page_index_release(&index);
}

#define DISK_TEST(f) cmocka_unit_test_setup_teardown(f, disk_make, disk_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(keys_cover_all_that_a_page_depends_on),
        DISK_TEST(gives_back_what_was_put),
        DISK_TEST(the_queue_takes_little_memory),
        DISK_TEST(models_share_the_cap),
        DISK_TEST(survives_a_restart),
        DISK_TEST(the_least_recently_used_are_removed_first),
        DISK_TEST(no_page_is_removed_before_those_that_continue_it),
        DISK_TEST(a_text_longer_than_the_cap),
        DISK_TEST(a_page_whose_parent_is_not_stored),
        DISK_TEST(background_is_removed_before_interactive),
        DISK_TEST(any_damage_is_found),
        DISK_TEST(pages_that_were_not_read_are_replaced),
        DISK_TEST(names_that_are_not_files),
        DISK_TEST(files_that_others_removed),
        DISK_TEST(other_users_may_not_read),
        DISK_TEST(refuses_unusable_directories),
        DISK_TEST(two_at_a_time),
        DISK_TEST(removes_what_was_left_half_written),
        cmocka_unit_test(the_index_is_a_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* src/history: chats on the disk. Scopes are apart, limits hold, files stay small, names are
 * digests, links are refused, and one process alone uses a directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "history/deletions.h"
#include "history/history.h"
#include "history/history_dir.h"
#include "history/history_head.h"

#define MIB ((uint64_t)1 << 20)

static char top[64], path[96];
static struct kl_history *history;

/* The error of the next attempts to create a directory; 0: none. */
static int mkdir_error;
int __real_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode)
{
    errno = mkdir_error;
    return mkdir_error != 0 ? -1 : __real_mkdirat(dir, name, mode);
}

static enum kl_status try_open(uint64_t max_bytes, struct kl_history **h, struct kl_error *err)
{
    const struct kl_history_options options = {.path = path, .max_bytes = max_bytes};
    return kl_history_open(&options, h, err);
}

static void open_again(uint64_t max_bytes)
{
    struct kl_error err;
    kl_history_close(history);
    if (try_open(max_bytes, &history, &err) != KL_OK)
        fail_msg("%s", err.text);
}

static int make_top(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(top));
    snprintf(path, sizeof path, "%s/a/history", top);
    open_again(64 * MIB);
    return 0;
}

static int remove_top(void **state)
{
    (void)state;
    char command[128];
    kl_history_close(history);
    history = NULL;
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command);
}

static const char *id_of(int n)
{
    static char ids[3][64];
    static int next;
    char *id = ids[next++ % 3];
    snprintf(id, sizeof ids[0], "%08x-0000-4000-8000-000000000000", (unsigned)n);
    return id;
}

/* The path of a chat's file, valid until the next call. */
static const char *file_of(uint64_t scope, int id)
{
    static char file[512];
    char directory[KL_HISTORY_NAME_SIZE], name[KL_HISTORY_NAME_SIZE];
    kl_history_scope_name(scope, directory);
    kl_history_chat_name(scope, id_of(id), name);
    snprintf(file, sizeof file, "%s/%s/%s", path, directory, name);
    return file;
}

static json_t *message(int id, size_t len)
{
    char *content = malloc(len + 1);
    assert_non_null(content);
    memset(content, 'x', len);
    content[len] = '\0';
    json_t *m = json_pack("{s:s, s:n, s:s, s:s}", "id", id_of(id), "parent", "role", "user",
                          "content", content);
    free(content);
    return m;
}

struct outcome {
    enum kl_status status;
    char etag[KL_CHAT_ETAG_LEN + 1];
    char text[600];
};

/* Changes a chat; takes head and messages, which may be NULL. */
static struct outcome change(uint64_t scope, int id, bool replaces, json_t *head, json_t *messages)
{
    struct kl_chat_entry entry;
    struct kl_error err = {0};
    struct outcome o = {0};
    const struct kl_chat_change c = {.head = head != NULL ? head : (head = json_object()),
                                     .messages = messages,
                                     .replaces = replaces,
                                     .now_ms = 1000};
    o.status = kl_history_change(history, scope, id_of(id), &c, &entry, &err);
    memcpy(o.etag, entry.etag, sizeof o.etag);
    snprintf(o.text, sizeof o.text, "%s", o.status == KL_OK ? entry.entry.data : err.text);
    kl_buffer_release(&entry.entry);
    json_decref(head);
    json_decref(messages);
    return o;
}

static struct outcome put(uint64_t scope, int id, size_t len)
{
    return change(scope, id, true, NULL, json_pack("[o]", message(1, len)));
}

static struct outcome add(uint64_t scope, int id, int n, size_t len)
{
    return change(scope, id, false, NULL, json_pack("[o]", message(n, len)));
}

static void must(struct outcome o)
{
    if (o.status != KL_OK)
        fail_msg("%s", o.text);
}

/* Reads a chat; NULL: there is none. */
static json_t *get(uint64_t scope, int id)
{
    struct kl_buffer out;
    struct kl_error err;
    char etag[KL_CHAT_ETAG_LEN + 1];
    json_t *chat = NULL;
    kl_buffer_init(&out, KL_CHAT_MAX_BYTES);
    enum kl_status status = kl_history_get(history, scope, id_of(id), NULL, NULL, &out, etag, &err);
    if (status == KL_OK) {
        chat = json_loadb(out.data, out.len, 0, NULL);
        assert_non_null(chat);
    } else if (status != KL_ERR_NOT_FOUND) {
        fail_msg("%s", err.text);
    }
    kl_buffer_release(&out);
    return chat;
}

static size_t n_messages(uint64_t scope, int id)
{
    json_t *chat = get(scope, id);
    assert_non_null(chat);
    size_t n = json_array_size(json_object_get(chat, "messages"));
    json_decref(chat);
    return n;
}

static json_t *list(uint64_t scope)
{
    struct kl_buffer out;
    struct kl_error err;
    char etag[KL_CHAT_ETAG_LEN + 1];
    kl_buffer_init(&out, 8 * MIB);
    assert_int_equal(kl_history_list(history, scope, NULL, NULL, &out, etag, &err), KL_OK);
    json_t *found = json_loadb(out.data, out.len, 0, NULL);
    assert_non_null(found);
    kl_buffer_release(&out);
    return found;
}

static size_t n_listed(uint64_t scope)
{
    json_t *found = list(scope);
    size_t n = json_array_size(json_object_get(found, "data"));
    json_decref(found);
    return n;
}

static enum kl_status delete_chat(uint64_t scope, int id)
{
    struct kl_error err;
    return kl_history_delete(history, scope, id_of(id), NULL, NULL, &err);
}

static size_t size_of(const char *file)
{
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    return (size_t)st.st_size;
}

static struct kl_history_stats stats(void)
{
    struct kl_history_stats s;
    kl_history_read_stats(history, &s);
    return s;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void chats_are_kept(void **state)
{
    (void)state;
    must(change(7, 1, true, json_pack("{s:s, s:b}", "title", "one", "own", 1),
                json_pack("[o, o]", message(1, 10), message(2, 10))));
    must(add(7, 1, 3, 5));
    must(change(7, 1, true, json_pack("{s:s}", "title", "two"), NULL)); /* the messages stay */
    open_again(64 * MIB);
    assert_int_equal(n_messages(7, 1), 3);
    json_t *chat = get(7, 1);
    assert_string_equal(json_string_value(json_object_get(chat, "title")), "two");
    assert_null(json_object_get(chat, "own")); /* the head was replaced */
    assert_int_equal(json_integer_value(json_object_get(chat, "created")), 1000);
    json_decref(chat);
    assert_int_equal(stats().n_chats, 1);
    assert_int_equal(n_listed(7), 1);
    assert_int_equal(delete_chat(7, 1), KL_OK);
    assert_int_equal(delete_chat(7, 1), KL_ERR_NOT_FOUND);
    assert_null(get(7, 1));
    assert_int_equal(stats().n_chats, 0);
    assert_int_equal(stats().bytes, 0);
    assert_int_equal(add(7, 1, 1, 1).status, KL_ERR_NOT_FOUND);
}

/* The IDs in "deleted" of the list, by their numbers: how many, and whether one is there. */
static size_t n_deleted(uint64_t scope, int id, bool *is_there)
{
    json_t *found = list(scope), *deleted = json_object_get(found, "deleted");
    size_t n = json_array_size(deleted);
    *is_there = false;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(deleted, i));
        *is_there = *is_there || strcmp(text, id_of(id)) == 0;
    }
    json_decref(found);
    return n;
}

static void deletions_are_told(void **state)
{
    (void)state;
    bool is_there;
    assert_int_equal(n_deleted(7, 1, &is_there), 0);
    for (int i = 1; i <= 3; i++)
        must(put(7, i, 1));
    assert_int_equal(delete_chat(7, 1), KL_OK);
    assert_int_equal(delete_chat(7, 2), KL_OK);
    assert_int_equal(delete_chat(7, 2), KL_ERR_NOT_FOUND);
    open_again(64 * MIB);
    assert_int_equal(n_deleted(7, 1, &is_there), 2);
    assert_true(is_there);
    n_deleted(7, 3, &is_there);
    assert_false(is_there);
    assert_int_equal(n_deleted(8, 1, &is_there), 0); /* of another key */
    must(put(7, 1, 1));                              /* it is there again */
    assert_int_equal(n_deleted(7, 1, &is_there), 1);
    assert_false(is_there);
    /* the last ones are remembered, up to what is damaged */
    char file[512];
    snprintf(file, sizeof file, "%s", file_of(7, 3));
    strcpy(strrchr(file, '/'), "/deleted");
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    for (int i = 10; i < 10 + KL_HISTORY_MAX_DELETIONS; i++)
        fprintf(out, "%s\n", id_of(i));
    fclose(out);
    assert_int_equal(delete_chat(7, 3), KL_OK);
    assert_int_equal(n_deleted(7, 10, &is_there), KL_HISTORY_MAX_DELETIONS);
    assert_false(is_there);
    n_deleted(7, 3, &is_there);
    assert_true(is_there);
    out = fopen(file, "w");
    assert_non_null(out);
    fprintf(out, "%s\n../../etc\n%s\n", id_of(4), id_of(5));
    fclose(out);
    assert_int_equal(n_deleted(7, 4, &is_there), 1);
    assert_true(is_there);
}

/* A list costs little however long the heads are, whatever a title has in it. */
static void lists_do_not_parse_all_of_a_head(void **state)
{
    (void)state;
    static const char title[] = "a\\,\"settings\":{},\"x\":\"";
    must(change(1, 1, true,
                json_pack("{s:s, s:{s:i}, s:b}", "title", title, "settings", "x", 1, "pinned", 1),
                NULL));
    json_t *found = list(1);
    json_t *row = json_array_get(json_object_get(found, "data"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "title")), title);
    assert_true(json_is_true(json_object_get(row, "pinned")));
    json_decref(found);

    static const char head[] =
        "{\"id\":\"x\",\"title\":\"\",\"changed\":5,\"settings\":not parsed}";
    const struct kl_chat_text chat = {.head = head, .head_len = sizeof head - 1, .etag = head};
    struct kl_buffer out;
    struct kl_error err;
    double changed;
    kl_buffer_init(&out, 1024);
    assert_int_equal(kl_history_head_entry(&chat, &out, &changed, &err), KL_OK);
    assert_true(changed == 5);
    kl_buffer_release(&out);
}

static void scopes_are_apart(void **state)
{
    (void)state;
    must(put(1, 5, 10));
    must(put(2, 5, 20));
    assert_int_equal(n_listed(1), 1);
    assert_int_equal(n_listed(3), 0);
    assert_null(get(3, 5));
    assert_int_equal(delete_chat(3, 5), KL_ERR_NOT_FOUND);
    assert_int_equal(add(3, 5, 1, 1).status, KL_ERR_NOT_FOUND);
    assert_int_equal(delete_chat(1, 5), KL_OK);
    assert_int_equal(n_messages(2, 5), 1);
}

static void directories_and_files_are_closed_to_others(void **state)
{
    (void)state;
    struct stat st;
    umask(0);
    must(put(1, 1, 10));
    must(add(1, 1, 2, 10));
    const char *file = file_of(1, 1);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_null(strstr(file, id_of(1)));
    char *slash = strrchr(file, '/');
    *slash = '\0';
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

/* A file that was cut by a crash is read up to its last whole append, and appended to there. */
static void a_torn_end_is_dropped(void **state)
{
    (void)state;
    must(put(1, 1, 100));
    size_t first = size_of(file_of(1, 1));
    must(add(1, 1, 2, 100));
    size_t second = size_of(file_of(1, 1));
    for (size_t len = first; len < second; len += 31) {
        assert_int_equal(truncate(file_of(1, 1), (off_t)len), 0);
        open_again(64 * MIB);
        assert_int_equal(n_messages(1, 1), 1);
        assert_int_equal(n_listed(1), 1);
        must(add(1, 1, 2, 100));
        assert_int_equal(n_messages(1, 1), 2);
        assert_int_equal(size_of(file_of(1, 1)), second);
    }
}

/* A chat whose file cannot be read is not one that was deleted: clients delete their copies of the
 * latter, and write the former again. */
static void a_damaged_chat_is_not_gone(void **state)
{
    (void)state;
    struct kl_buffer out;
    struct kl_error err;
    char etag[KL_CHAT_ETAG_LEN + 1];
    must(put(1, 1, 100));
    must(put(1, 2, 100));
    int fd = open(file_of(1, 1), O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, (off_t)size_of(file_of(1, 1)) - 10), 1);
    close(fd);
    kl_buffer_init(&out, KL_CHAT_MAX_BYTES);
    assert_int_equal(kl_history_get(history, 1, id_of(1), NULL, NULL, &out, etag, &err),
                     KL_ERR_FORMAT);
    assert_int_equal(add(1, 1, 2, 10).status, KL_ERR_FORMAT);
    assert_int_equal(n_listed(1), 1);
    must(put(1, 1, 100));
    assert_int_equal(n_messages(1, 1), 1);
    assert_int_equal(n_listed(1), 2);
    assert_int_equal(stats().n_chats, 2);
    kl_buffer_release(&out);
}

/* Nor are chats gone whose directory cannot be used, also if that was so at the start. */
static void the_chats_of_a_foreign_directory_are_not_gone(void **state)
{
    (void)state;
    char directory[512], other[600], etag[KL_CHAT_ETAG_LEN + 1];
    struct kl_buffer out;
    struct kl_error err;
    must(put(1, 1, 10));
    snprintf(directory, sizeof directory, "%s", file_of(1, 1));
    *strrchr(directory, '/') = '\0';
    snprintf(other, sizeof other, "%s-other", directory);
    assert_int_equal(rename(directory, other), 0);
    assert_int_equal(symlink(other, directory), 0);
    open_again(64 * MIB);
    kl_buffer_init(&out, 8 * MIB);
    assert_int_equal(kl_history_list(history, 1, NULL, NULL, &out, etag, &err), KL_ERR_FORMAT);
    assert_int_equal(kl_history_get(history, 1, id_of(1), NULL, NULL, &out, etag, &err),
                     KL_ERR_FORMAT);
    assert_int_equal(unlink(directory), 0);
    assert_int_equal(rename(other, directory), 0);
    assert_int_equal(n_listed(1), 1);
    must(add(1, 1, 2, 10));
    kl_buffer_release(&out);
}

/* A file that something else made larger does not leave sums below 0, with which nothing fits. */
static void files_that_others_change(void **state)
{
    (void)state;
    must(put(1, 1, 10));
    for (int i = 0; i < 2; i++) {
        int fd = open(file_of(1, 1), O_WRONLY | O_APPEND);
        assert_int_equal(ftruncate(fd, 100000 + i), 0);
        close(fd);
        if (i == 0)
            must(add(1, 1, 2, 10));
    }
    assert_int_equal(delete_chat(1, 1), KL_OK);
    assert_int_equal(stats().bytes, 0);
    assert_int_equal(stats().n_chats, 0);
    must(put(1, 1, 10));
    must(put(1, 2, 10));
    assert_int_equal(stats().n_chats, 2);
}

/* A process that was killed while it wrote a file anew leaves the old one, and a file of another
 * name, which the next start removes. */
static void an_incomplete_file_is_removed(void **state)
{
    (void)state;
    char temporary[600];
    must(put(1, 1, 100));
    snprintf(temporary, sizeof temporary, "%s.tmp", file_of(1, 1));
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    fputs("{\"sum\":", f);
    fclose(f);
    open_again(64 * MIB);
    assert_int_equal(access(temporary, F_OK), -1);
    assert_int_equal(n_messages(1, 1), 1);
    assert_int_equal(stats().n_chats, 1);
}

/* An answer that grows is saved often; the file does not grow with the number of saves. */
static void replaced_lines_are_removed(void **state)
{
    (void)state;
    must(put(1, 1, 1000));
    for (int i = 0; i < 80; i++) {
        must(add(1, 1, 2, (size_t)i * 100));
        size_t valid = 1000 + (size_t)i * 100 + 1000;
        assert_in_range(size_of(file_of(1, 1)), 1, valid + valid / 2 + (72 << 10));
    }
    open_again(64 * MIB);
    assert_int_equal(n_messages(1, 1), 2);
    assert_int_equal(stats().bytes, (size_of(file_of(1, 1)) + 4095) / 4096 * 4096);
}

static void a_full_disk_has_no_room_for_another_key(void **state)
{
    (void)state;
    must(put(1, 1, 10));
    mkdir_error = ENOSPC;
    struct outcome o = put(2, 1, 10);
    must(put(1, 2, 10));
    mkdir_error = 0;
    assert_int_equal(o.status, KL_ERR_BUSY);
    assert_non_null(strstr(o.text, "full"));
    must(put(2, 1, 10));
}

static void each_key_has_a_quarter(void **state)
{
    (void)state;
    open_again(4 * MIB);
    int n = 0;
    struct outcome o;
    while ((o = put(1, n, 200 << 10)).status == KL_OK)
        n++;
    assert_int_equal(o.status, KL_ERR_BUSY);
    assert_non_null(strstr(o.text, "--history-size"));
    assert_non_null(strstr(o.text, "this key"));
    assert_int_equal(n, 5);
    assert_int_equal(n_listed(1), 5);
    assert_int_equal(add(1, 0, 2, 100 << 10).status, KL_ERR_BUSY);
    assert_int_equal(n_messages(1, 0), 1);
    must(put(2, 0, 200 << 10)); /* another key has its own */
    must(put(1, 0, 100));       /* a chat may become smaller */
    must(add(1, 0, 2, 100 << 10));
    assert_int_equal(delete_chat(1, 1), KL_OK);
    must(put(1, 1, 200 << 10));
    open_again(4 * MIB); /* the sums are those of the files */
    assert_int_equal(put(1, 9, 200 << 10).status, KL_ERR_BUSY);
}

static void all_keys_have_a_limit(void **state)
{
    (void)state;
    open_again(MIB);
    for (int i = 0; i < 4; i++)
        must(put((uint64_t)i + 1, 0, 220 << 10));
    struct outcome o = put(5, 0, 220 << 10);
    assert_int_equal(o.status, KL_ERR_BUSY);
    assert_non_null(strstr(o.text, "all keys"));
    for (int i = 0; i < 4; i++)
        assert_int_equal(n_messages((uint64_t)i + 1, 0), 1); /* nothing was removed for it */
    open_again(4 * MIB);
    must(put(0, 0, 1536 << 10)); /* without keys there is one share */
}

/* Where the limit is near, replaced lines make room before a change is refused. */
static void replaced_lines_make_room(void **state)
{
    (void)state;
    open_again(MIB);
    must(put(1, 1, 100 << 10));
    for (int i = 0; i < 10; i++)
        must(add(1, 1, 2, 50 << 10));
}

static void a_chat_has_a_limit(void **state)
{
    (void)state;
    open_again(256 * MIB);
    must(put(1, 1, (1 << 20) - 1000));
    must(add(1, 1, 2, (1 << 20) - 1000));
    struct outcome o = add(1, 1, 3, 3000);
    assert_int_equal(o.status, KL_ERR_LIMIT);
    assert_non_null(strstr(o.text, "begin another"));
    must(add(1, 1, 2, 10)); /* it may become smaller */
    json_t *head = json_object();
    json_object_set_new(head, "x", message(1, KL_CHAT_MAX_HEAD_BYTES));
    assert_int_equal(change(1, 1, true, head, NULL).status, KL_ERR_LIMIT);
    assert_int_equal(n_messages(1, 1), 2);
}

static void the_number_of_chats_has_a_limit(void **state)
{
    (void)state;
    char name[80];
    must(put(1, 0, 10));
    char *file = strdup(file_of(1, 0));
    assert_non_null(file);
    *strrchr(file, '/') = '\0';
    int dir = open(file, O_RDONLY | O_DIRECTORY);
    assert_true(dir >= 0);
    free(file);
    for (int i = 1; i < KL_HISTORY_MAX_CHATS; i++) {
        snprintf(name, sizeof name, "%064x", (unsigned)i);
        assert_int_equal(symlinkat("elsewhere", dir, name), 0);
    }
    open_again(64 * MIB);
    assert_int_equal(stats().n_chats, 1); /* links do not count */
    for (int i = 1; i < KL_HISTORY_MAX_CHATS; i++) {
        snprintf(name, sizeof name, "%064x", (unsigned)i);
        assert_int_equal(unlinkat(dir, name, 0), 0);
        int fd = openat(dir, name, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    close(dir);
    open_again(64 * MIB);
    struct outcome o = put(1, 1, 10);
    assert_int_equal(o.status, KL_ERR_BUSY);
    assert_non_null(strstr(o.text, "delete some"));
    must(add(1, 0, 2, 10));
    must(put(2, 1, 10));
}

static void the_list_has_the_last_changed_first(void **state)
{
    (void)state;
    static const int changed[] = {20, 50, 10, 40};
    for (int i = 0; i < 4; i++)
        must(change(1, i, true, json_pack("{s:i}", "changed", changed[i]), NULL));
    /* a head that is longer than the part of a file that is read first */
    must(change(1, 2, true, json_pack("{s:i, s:o}", "changed", 45, "x", message(1, 20000)), NULL));
    json_t *all = list(1), *data = json_object_get(all, "data");
    static const int order[] = {50, 45, 40, 20};
    assert_int_equal(json_array_size(data), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(data, i);
        assert_int_equal(json_integer_value(json_object_get(row, "changed")), order[i]);
        assert_int_equal(json_string_length(json_object_get(row, "etag")), KL_CHAT_ETAG_LEN);
        assert_int_equal(json_object_size(row), 7);
    }
    json_decref(all);
}

/* The same ETag is never that of another state. */
static void etags_name_states(void **state)
{
    (void)state;
    struct outcome one = put(1, 1, 10), two = add(1, 1, 2, 10), three = add(1, 1, 2, 11),
                   four = change(1, 1, true, json_pack("{s:s}", "title", "x"), NULL);
    must(four);
    const char *all[] = {one.etag, two.etag, three.etag, four.etag};
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < i; k++)
            assert_string_not_equal(all[i], all[k]);
    }
    assert_int_equal(delete_chat(1, 1), KL_OK);
    assert_string_equal(put(1, 1, 10).etag, one.etag);
    assert_string_not_equal(put(1, 2, 11).etag, one.etag);
}

static bool never(void *context, const char *etag)
{
    snprintf(context, KL_CHAT_ETAG_LEN + 1, "%s", etag != NULL ? etag : "none");
    return false;
}

static void conditions_come_before_changes(void **state)
{
    (void)state;
    char seen[KL_CHAT_ETAG_LEN + 1];
    struct kl_error err;
    struct kl_chat_entry entry;
    json_t *head = json_object();
    struct kl_chat_change c = {
        .head = head, .replaces = true, .now_ms = 1, .condition = never, .context = seen};
    assert_int_equal(kl_history_change(history, 1, id_of(1), &c, &entry, &err), KL_ERR_INVALID);
    kl_buffer_release(&entry.entry);
    assert_string_equal(seen, "none");
    assert_int_equal(access(file_of(1, 1), F_OK), -1);
    struct outcome o = put(1, 1, 10);
    assert_int_equal(kl_history_change(history, 1, id_of(1), &c, &entry, &err), KL_ERR_INVALID);
    kl_buffer_release(&entry.entry);
    assert_string_equal(seen, o.etag);
    assert_int_equal(kl_history_delete(history, 1, id_of(1), never, seen, &err), KL_ERR_INVALID);
    assert_int_equal(n_messages(1, 1), 1);
    json_decref(head);
}

static void links_are_refused(void **state)
{
    (void)state;
    char elsewhere[128];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", top);
    must(put(1, 1, 10));
    assert_int_equal(rename(file_of(1, 1), elsewhere), 0);
    assert_int_equal(symlink(elsewhere, file_of(1, 1)), 0);
    size_t before = size_of(elsewhere);
    assert_int_equal(put(1, 1, 20).status, KL_ERR_FORMAT);
    struct outcome o = add(1, 1, 2, 20);
    assert_int_equal(o.status, KL_ERR_FORMAT);
    assert_non_null(strstr(o.text, "remove it"));
    assert_int_equal(unlink(file_of(1, 1)), 0);
    assert_int_equal(link(elsewhere, file_of(1, 1)), 0); /* a further name of a file */
    assert_int_equal(add(1, 1, 2, 20).status, KL_ERR_FORMAT);
    assert_int_equal(size_of(elsewhere), before);
    /* a named pipe is refused without waiting */
    assert_int_equal(unlink(file_of(1, 1)), 0);
    assert_int_equal(mkfifo(file_of(1, 1), 0600), 0);
    assert_int_equal(add(1, 1, 2, 20).status, KL_ERR_FORMAT);
    assert_int_equal(unlink(file_of(1, 1)), 0);
    /* and a link in place of a directory */
    char directory[512];
    snprintf(directory, sizeof directory, "%s", file_of(1, 1));
    *strrchr(directory, '/') = '\0';
    assert_int_equal(rmdir(directory), 0);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere2", top);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(symlink(elsewhere, directory), 0);
    assert_int_equal(put(1, 1, 20).status, KL_ERR_FORMAT);
    open_again(64 * MIB);
    assert_int_equal(put(1, 1, 20).status, KL_ERR_FORMAT);
    assert_int_equal(rmdir(elsewhere), 0); /* nothing was put there */
}

/* A disk that is full in the middle of a write: the chat is as it was before. The limit of the size
 * of a file fails like it. */
static void a_full_disk_changes_nothing(void **state)
{
    (void)state;
    struct rlimit limit, small;
    must(put(1, 1, 40000));
    must(add(1, 1, 2, 10000));
    size_t before = size_of(file_of(1, 1));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){.rlim_cur = before + 100, .rlim_max = limit.rlim_max};
    void (*usual)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct outcome appended = add(1, 1, 3, 10000), written = put(1, 2, 60000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, usual);
    assert_int_equal(appended.status, KL_ERR_BUSY);
    assert_non_null(strstr(appended.text, "disk"));
    assert_int_equal(written.status, KL_ERR_BUSY);
    assert_int_equal(size_of(file_of(1, 1)), before);
    assert_int_equal(n_messages(1, 1), 2);
    assert_null(get(1, 2));
    must(add(1, 1, 3, 10000));
    must(put(1, 2, 60000));
}

static void one_process_has_a_directory(void **state)
{
    (void)state;
    struct kl_history *second;
    struct kl_error err;
    assert_int_equal(try_open(MIB, &second, &err), KL_ERR_BUSY);
    assert_non_null(strstr(err.text, path));
    kl_history_close(history);
    history = NULL;
    assert_int_equal(try_open(MIB, &history, &err), KL_OK);
}

/* Whatever others remove meanwhile, a change is made or fails with a reason. */
static void directories_may_vanish(void **state)
{
    (void)state;
    char command[200];
    must(put(1, 1, 10));
    snprintf(command, sizeof command, "rm -r %s/[0-9a-f]*", path);
    assert_int_equal(system(command), 0);
    assert_null(get(1, 1));
    assert_int_equal(n_listed(1), 0);
    must(put(1, 1, 10));
    assert_int_equal(n_messages(1, 1), 1);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    struct outcome o = put(1, 1, 10);
    assert_int_equal(o.status, KL_ERR_IO);
    assert_non_null(strstr(o.text, "is gone"));
    assert_int_equal(add(1, 1, 1, 1).status, KL_ERR_NOT_FOUND);
    assert_int_equal(n_listed(1), 0);
}

static void other_directories_are_left_alone(void **state)
{
    (void)state;
    struct kl_history *second;
    struct kl_error err;
    struct stat st;
    snprintf(path, sizeof path, "%s", top);
    assert_int_equal(chmod(top, 0755), 0);
    assert_int_equal(try_open(MIB, &second, &err), KL_ERR_INVALID); /* it has "a" in it */
    assert_non_null(strstr(err.text, "other files"));
    assert_int_equal(stat(top, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    snprintf(path, sizeof path, "%s/file", top);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_not_equal(try_open(MIB, &second, &err), KL_OK);
    assert_non_null(strstr(err.text, path));
    snprintf(path, sizeof path, "/proc/nowhere");
    assert_int_not_equal(try_open(MIB, &second, &err), KL_OK);
    snprintf(path, sizeof path, "/sys");
    assert_int_not_equal(try_open(MIB, &second, &err), KL_OK);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_top, remove_top)
    const struct CMUnitTest tests[] = {
        TEST(chats_are_kept),
        TEST(deletions_are_told),
        TEST(lists_do_not_parse_all_of_a_head),
        TEST(scopes_are_apart),
        TEST(directories_and_files_are_closed_to_others),
        TEST(a_torn_end_is_dropped),
        TEST(a_damaged_chat_is_not_gone),
        TEST(the_chats_of_a_foreign_directory_are_not_gone),
        TEST(files_that_others_change),
        TEST(an_incomplete_file_is_removed),
        TEST(replaced_lines_are_removed),
        TEST(a_full_disk_has_no_room_for_another_key),
        TEST(each_key_has_a_quarter),
        TEST(all_keys_have_a_limit),
        TEST(replaced_lines_make_room),
        TEST(a_chat_has_a_limit),
        TEST(the_number_of_chats_has_a_limit),
        TEST(the_list_has_the_last_changed_first),
        TEST(etags_name_states),
        TEST(conditions_come_before_changes),
        TEST(links_are_refused),
        TEST(a_full_disk_changes_nothing),
        TEST(one_process_has_a_directory),
        TEST(directories_may_vanish),
        TEST(other_directories_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

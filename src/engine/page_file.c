#include "engine/page_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/hash.h"

static const char magic[8] = {'K', 'I', 'N', 'G', 'L', 'E', 'T', 'P'};

enum { VERSION = 2 };

_Static_assert(offsetof(struct kl_page_header, checksum) + sizeof(uint64_t) ==
                   sizeof(struct kl_page_header),
               "the header has no padding: all of it is in the checksum");

struct kl_page_header kl_page_header(const struct kl_page_key *parent, const int32_t *tokens,
                                     size_t page_bytes)
{
    struct kl_page_header h = {.version = VERSION,
                               .n_tokens = KL_KV_PAGE_TOKENS,
                               .page_bytes = page_bytes,
                               .parent = *parent};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.tokens, tokens, sizeof h.tokens);
    return h;
}

static uint64_t checksum(const struct kl_page_header *header, const void *page)
{
    uint64_t of_header = kl_hash64(header, offsetof(struct kl_page_header, checksum), 0);
    return kl_hash64(page, (size_t)header->page_bytes, of_header);
}

static char *write_hex(char *out, const struct kl_page_key *key)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < KL_PAGE_KEY_SIZE; i++) {
        *out++ = digits[key->bytes[i] >> 4];
        *out++ = digits[key->bytes[i] & 15];
    }
    return out;
}

void kl_page_name(const struct kl_page_key *key, const struct kl_page_key *parent,
                  char name[KL_PAGE_NAME_SIZE])
{
    char *out = write_hex(name, key);
    *out++ = '-';
    strcpy(write_hex(out, parent), KL_PAGE_SUFFIX);
}

/* Lower case only: a page has one name. */
static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hex(const char *text, struct kl_page_key *key)
{
    for (size_t i = 0; i < KL_PAGE_KEY_SIZE; i++) {
        int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        key->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool parse(const char *name, const char *suffix, struct kl_page_key *key,
                  struct kl_page_key *parent)
{
    const size_t digits = 2 * KL_PAGE_KEY_SIZE;
    return strlen(name) == 2 * digits + 1 + strlen(suffix) && name[digits] == '-' &&
           strcmp(name + 2 * digits + 1, suffix) == 0 && parse_hex(name, key) &&
           parse_hex(name + digits + 1, parent);
}

bool kl_page_name_parse(const char *name, struct kl_page_key *key, struct kl_page_key *parent)
{
    return parse(name, KL_PAGE_SUFFIX, key, parent);
}

bool kl_page_name_is_old(const char *name)
{
    struct kl_page_key key, parent;
    return parse(name, ".kv", &key, &parent);
}

#define NS_PER_SECOND 1000000000

int64_t kl_page_time(const struct stat *st)
{
    const int64_t last = INT64_MAX / NS_PER_SECOND - 1; /* in the year 2262 */
    int64_t seconds = st->st_mtim.tv_sec < 0 ? 0 : st->st_mtim.tv_sec;
    return (seconds < last ? seconds : last) * NS_PER_SECOND + st->st_mtim.tv_nsec;
}

/* May fail: only the order of use after a restart depends on it. */
static void set_time(int fd, int64_t used)
{
    int64_t ns = used < 0 ? 0 : used;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT}, {.tv_sec = ns / NS_PER_SECOND, .tv_nsec = ns % NS_PER_SECOND}};
    (void)futimens(fd, times);
}

enum kl_status kl_page_write(int dir, const char *temporary, const char *name,
                             struct kl_page_header *header, int64_t used, struct kl_error *err)
{
    header->checksum = checksum(header, header + 1);
    int fd;
    enum kl_status status = kl_cache_file_create(dir, temporary, &fd, err);
    if (status != KL_OK)
        return status;
    status = kl_cache_write(fd, header, sizeof *header + (size_t)header->page_bytes, err);
    set_time(fd, used);
    /* some file systems report only now that the disk is full */
    if (close(fd) != 0 && status == KL_OK)
        status = kl_fail_errno(err, "cannot write a page");
    if (status == KL_OK && renameat(dir, temporary, dir, name) != 0)
        status = kl_fail_errno(err, "cannot rename a file");
    if (status != KL_OK)
        (void)unlinkat(dir, temporary, 0);
    return status;
}

enum kl_status kl_page_remove(int dir, const struct kl_page_key *key,
                              const struct kl_page_key *parent, struct kl_error *err)
{
    char name[KL_PAGE_NAME_SIZE];
    kl_page_name(key, parent, name);
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT)
        return kl_fail_errno(err, "cannot remove a page");
    return KL_OK;
}

/* false: the file is shorter, or cannot be read. */
static bool read_all(int fd, void *data, size_t len)
{
    uint8_t *p = data;
    while (len > 0) {
        ssize_t n = read(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

enum kl_page_found kl_page_read(int dir, const char *name, const struct kl_page_header *wanted,
                                void *page, int64_t used)
{
    /* O_NONBLOCK: does not wait if it is a pipe */
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT                                         ? KL_PAGE_GONE
               : errno == EMFILE || errno == ENFILE || errno == ENOMEM ? KL_PAGE_UNREADABLE
                                                                       : KL_PAGE_DAMAGED;
    struct kl_page_header h;
    struct stat st;
    size_t size = (size_t)wanted->page_bytes;
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
                (uint64_t)st.st_size == sizeof h + wanted->page_bytes &&
                read_all(fd, &h, sizeof h) &&
                memcmp(&h, wanted, offsetof(struct kl_page_header, checksum)) == 0 &&
                read_all(fd, page, size) && h.checksum == checksum(&h, page);
    if (good)
        set_time(fd, used);
    close(fd);
    return good ? KL_PAGE_READ : KL_PAGE_DAMAGED;
}

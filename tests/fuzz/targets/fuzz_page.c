/*
 * Pages of the prefix cache on disk: a file is the page that was written, byte for byte, or it is
 * recognised as damaged.
 *
 * The input is a list of changes to a valid file, three bytes each: a position of two bytes, and
 * the number to add to the byte there; an odd first byte truncates the file there instead, or
 * extends it.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "engine/page_file.h"
#include "fuzz.h"
#include "scratch.h"

#define PAGE_BYTES 4096
#define NAME       "a.page"

static int directory = -1;
static struct {
    struct kl_page_header header;
    uint8_t page[PAGE_BYTES];
} whole;

static void make_page(void)
{
    struct kl_error err = {0};
    const struct kl_page_key parent = {{1, 2, 3}};
    int32_t tokens[KL_KV_PAGE_TOKENS];
    for (int32_t i = 0; i < KL_KV_PAGE_TOKENS; i++)
        tokens[i] = i * 7;
    for (size_t i = 0; i < PAGE_BYTES; i++)
        whole.page[i] = (uint8_t)(i * 31);
    whole.header = kl_page_header(&parent, tokens, PAGE_BYTES);
    PROMISE(kl_cache_dir_open(scratch_directory(), false, &directory, &err) == KL_OK);
    PROMISE(kl_page_write(directory, "writing.a", NAME, &whole.header, 1, &err) == KL_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t file[2 * sizeof whole], page[PAGE_BYTES];
    size_t len = sizeof whole;
    if (directory < 0)
        make_page();
    memcpy(file, &whole, sizeof whole);
    memset(file + sizeof whole, 0, sizeof file - sizeof whole);
    while (size >= 3) {
        size_t at = (size_t)(data[0] << 8 | data[1]);
        if ((data[0] & 1) != 0)
            len = at % sizeof file;
        else
            file[at % sizeof whole] += data[2];
        data += 3;
        size -= 3;
    }
    int fd = openat(directory, NAME, O_WRONLY | O_TRUNC);
    PROMISE(fd >= 0 && write(fd, file, len) == (ssize_t)len);
    close(fd);
    struct kl_page_header wanted = whole.header;
    wanted.checksum = 0;
    bool same = len == sizeof whole && memcmp(file, &whole, sizeof whole) == 0;
    enum kl_page_found found = kl_page_read(directory, NAME, &wanted, page, 2);
    PROMISE(found == (same ? KL_PAGE_READ : KL_PAGE_DAMAGED));
    PROMISE(!same || memcmp(page, whole.page, PAGE_BYTES) == 0);
    return 0;
}

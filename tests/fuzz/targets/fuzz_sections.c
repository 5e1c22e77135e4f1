/*
 * Files of sections (format/sections.h): a file that opens and matches its checksums holds the
 * bytes that were written; any other is refused with a text.
 *
 * The first byte selects how the rest is used: as the file itself (even), or as changes to a valid
 * one (odd), three bytes each: a position of two bytes, and the number to add to the byte there.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "format/sections.h"
#include "fuzz.h"
#include "scratch.h"

#define NAME     "a.sections"
#define MAX_SIZE 4096

static const struct kl_digest key = {{7, 7, 7}};
static char path[64];
static uint8_t whole[MAX_SIZE];
static size_t whole_size;

static void make_file(void)
{
    struct kl_sections_writer *writer;
    struct kl_error err = {0};
    const char *dir = scratch_directory();
    PROMISE(kl_sections_create(dir, "a.tmp", 2, &writer, &err) == KL_OK);
    PROMISE(kl_sections_begin(writer, "first", &err) == KL_OK);
    PROMISE(kl_sections_write(writer, "0123456789", 10, &err) == KL_OK);
    PROMISE(kl_sections_begin(writer, "second", &err) == KL_OK);
    for (unsigned i = 0; i < 200; i++)
        PROMISE(kl_sections_write(writer, &i, sizeof i, &err) == KL_OK);
    PROMISE(kl_sections_finish(writer, NAME, &key, &err) == KL_OK);
    snprintf(path, sizeof path, "%s/" NAME, dir);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, whole, sizeof whole);
    PROMISE(n > 0 && n < MAX_SIZE);
    whole_size = (size_t)n;
    close(fd);
}

/* Opens the file and checks all sections. */
static bool is_good(void)
{
    struct kl_sections file = {0};
    struct kl_section first, second;
    struct kl_error err = {0};
    enum kl_status status = kl_sections_open(&file, scratch_directory(), NAME, &key, &err);
    if (status != KL_OK) {
        PROMISE(strlen(err.text) > 10 && err.status == status);
        return false;
    }
    bool good = kl_sections_check(&file, 1, NULL, NULL, &err) == KL_OK;
    if (kl_sections_find(&file, 0, "first", 10, &first, &err) != KL_OK ||
        kl_sections_find(&file, 1, "second", 800, &second, &err) != KL_OK)
        good = false;
    else if (good)
        PROMISE(memcmp(first.data, "0123456789", 10) == 0 && second.size == 800);
    kl_sections_close(&file);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t changed[MAX_SIZE];
    if (whole_size == 0)
        make_file();
    size_t len;
    if (take_byte(&data, &size) % 2 == 0) {
        len = size < MAX_SIZE ? size : MAX_SIZE;
        memcpy(changed, data, len);
    } else {
        len = whole_size;
        memcpy(changed, whole, len);
        for (; size >= 3; data += 3, size -= 3)
            changed[(size_t)(data[0] << 8 | data[1]) % len] += data[2];
    }
    int fd = open(path, O_WRONLY | O_TRUNC);
    PROMISE(fd >= 0 && write(fd, changed, len) == (ssize_t)len);
    close(fd);
    bool same = len == whole_size && memcmp(changed, whole, len) == 0;
    /* the padding between sections is not checked, so a changed file may be valid, too */
    PROMISE(is_good() || !same);
    return 0;
}

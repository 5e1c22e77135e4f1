/*
 * Runs a tokenizer whose mapped tables change after their checksum was verified: whatever the
 * tables contain, texts become ids of the vocabulary, and ids become pieces.
 *
 * The input is a list of changes to the file, five bytes each (three of position, two of value),
 * then a byte 0, then a text.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "scratch.h"
#include "text/detokenizer.h"
#include "tiny_tokenizer.h"

static struct kl_tokenizer *kept;
static int file = -1;
static size_t file_size;

static void open_kept(void)
{
    struct kl_error err = {0};
    struct kl_tokenizer *made;
    struct stat st;
    const char *dir = scratch_directory();
    PROMISE(kl_tokenizer_open_kept(tiny_gguf(), dir, &made, &err) == KL_OK);
    kl_tokenizer_keep(made, tiny_gguf(), dir);
    kl_tokenizer_close(made);
    PROMISE(kl_tokenizer_open_kept(tiny_gguf(), dir, &kept, &err) == KL_OK);
    DIR *d = opendir(dir);
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        if (strstr(entry->d_name, ".tokenizer") != NULL)
            file = openat(dirfd(d), entry->d_name, O_RDWR);
    }
    closedir(d);
    PROMISE(file >= 0 && fstat(file, &st) == 0);
    file_size = (size_t)st.st_size;
}

static void use(const char *text, size_t len)
{
    const struct kl_span spans[] = {{text, len, false}, {text, len, true}};
    struct kl_tokens tokens = {0};
    struct kl_error err = {0};
    struct kl_detokenizer d;
    struct kl_buffer out;
    kl_buffer_init(&out, (size_t)1 << 20);
    kl_detokenizer_init(&d, kept);
    if (kl_tokenizer_encode(kept, spans, 2, &tokens, &err) == KL_OK) {
        for (size_t i = 0; i < tokens.len; i++) {
            PROMISE(tokens.ids[i] >= 0 && (size_t)tokens.ids[i] < kl_tokenizer_size(kept));
            kl_tokenizer_is_control(kept, tokens.ids[i]);
            kl_tokenizer_is_end(kept, tokens.ids[i]);
            kl_detokenizer_push(&d, tokens.ids[i], &out);
        }
    } else {
        PROMISE(strlen(err.text) > 5);
    }
    kl_tokenizer_find(kept, text, len);
    kl_tokens_release(&tokens);
    kl_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct {
        off_t at;
        uint8_t was[2];
    } changes[64];
    size_t n = 0;
    if (kept == NULL)
        open_kept();
    while (n < 64 && size >= 6 && data[0] != 0) {
        size_t at = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % (file_size - 1);
        changes[n].at = (off_t)at;
        PROMISE(pread(file, changes[n].was, 2, (off_t)at) == 2);
        PROMISE(pwrite(file, data + 3, 2, (off_t)at) == 2);
        n++;
        data += 5;
        size -= 5;
    }
    take_byte(&data, &size);
    use((const char *)data, size);
    while (n-- > 0) /* in reverse order, so that bytes changed twice get their original value */
        PROMISE(pwrite(file, changes[n].was, 2, changes[n].at) == 2);
    return 0;
}

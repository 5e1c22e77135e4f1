#include "console/chat_prompt.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SILENT_MS 2000

/* Whether standard input is to be read in addition to words; false if it is closed. */
static bool has_text(void)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) != 0)
        return false;
    return S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ||
           (S_ISREG(st.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0);
}

static void wait_for_input(bool *reported)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (!*reported && poll(&input, 1, SILENT_MS) == 0) {
        fputs("waiting for the end of standard input (--no-input: do not read it)\n", stderr);
        *reported = true;
    }
    poll(&input, 1, -1);
}

static enum kl_status read_input(struct kl_buffer *out, struct kl_error *err)
{
    char piece[65536];
    bool reported = false;
    size_t begin = out->len;
    for (;;) {
        wait_for_input(&reported);
        ssize_t n = read(STDIN_FILENO, piece, sizeof piece);
        if (n == 0)
            return KL_OK;
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return kl_fail_errno(err, "cannot read standard input");
        if ((size_t)n > KL_CHAT_INPUT_CAP - (out->len - begin))
            return kl_fail(err, KL_ERR_LIMIT,
                           "standard input is longer than %zu bytes, the most that a prompt may "
                           "have; give a part of it, or --no-input",
                           KL_CHAT_INPUT_CAP);
        enum kl_status status = kl_buffer_append(out, piece, (size_t)n);
        if (status != KL_OK)
            return kl_fail(err, status, "out of memory while reading standard input");
    }
}

/* Prints the size with separators: "1,204". */
static void print_size(size_t bytes)
{
    char digits[32], text[48];
    int len = snprintf(digits, sizeof digits, "%zu", bytes), used = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            text[used++] = ',';
        text[used++] = digits[i];
    }
    fprintf(stderr, "read %.*s bytes from standard input\n", used, text);
}

enum kl_status kl_chat_prompt_read(char **words, size_t n_words, bool without_input,
                                   struct kl_buffer *out, bool *conversation, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    *conversation = n_words == 0 && !without_input && isatty(STDIN_FILENO) == 1;
    if (*conversation)
        return KL_OK;
    if (without_input && n_words == 0)
        return kl_fail(err, KL_ERR_INVALID, "--no-input needs a PROMPT: there is nothing to ask");
    if (n_words == 0 || (!without_input && has_text())) {
        status = read_input(out, err);
        if (status != KL_OK)
            return status;
        if (n_words > 0)
            print_size(out->len);
        while (out->len > 0 && out->data[out->len - 1] == '\n')
            out->data[--out->len] = '\0';
        if (out->len == 0 && n_words == 0)
            return kl_fail(err, KL_ERR_INVALID, "standard input is empty: there is no prompt");
    }
    if (out->len > 0 && n_words > 0)
        status = kl_buffer_append_string(out, "\n\n");
    for (size_t i = 0; i < n_words && status == KL_OK; i++)
        status = kl_buffer_append_format(out, "%s%s", i > 0 ? " " : "", words[i]);
    if (status != KL_OK)
        return kl_fail(err, status, "the prompt is longer than %zu bytes", out->cap);
    return KL_OK;
}

/*
 * Moves lines of system messages: no line is lost, added or changed, each is where it belongs, and
 * a second run moves the same ones to the same place. The input is the pattern up to a NUL, then
 * messages up to a NUL each, the first byte of which chooses the role.
 */
#include <string.h>

#include "fuzz.h"
#include "service/late_lines.h"

#define MAX_MESSAGES 20

static void read_messages(const uint8_t *data, size_t size, struct kl_chat_input *input)
{
    static const char *const roles[] = {"system", "user", "assistant", "system"};
    *input = (struct kl_chat_input){.messages = calloc(MAX_MESSAGES, sizeof *input->messages)};
    while (size > 0 && input->n_messages < MAX_MESSAGES) {
        const char *role = roles[take_byte(&data, &size) % 4];
        const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
        size_t len = end != NULL ? (size_t)(end - data) : size;
        input->messages[input->n_messages++] =
            (struct kl_message){.role = role, .content = (const char *)data, .content_len = len};
        data += len + (end != NULL);
        size -= len + (end != NULL);
    }
}

/* The sum of all bytes but line ends, which are added and removed with lines. */
static size_t sum(const struct kl_chat_input *input)
{
    size_t total = 0;
    for (size_t i = 0; i < input->n_messages; i++) {
        for (size_t k = 0; k < input->messages[i].content_len; k++) {
            uint8_t byte = (uint8_t)input->messages[i].content[k];
            total += byte != '\n' && byte != '\r' ? byte : 0u;
        }
    }
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char pattern[256];
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    size_t len = end != NULL ? (size_t)(end - data) : size, n, again;
    struct kl_late_lines *late;
    struct kl_error err = {0};
    struct kl_api_error error;
    if (len >= sizeof pattern)
        return 0;
    memcpy(pattern, data, len);
    pattern[len] = '\0';
    if (kl_late_lines_open(pattern, &late, &err) != KL_OK) {
        PROMISE(late == NULL && strstr(err.text, "--late-lines") != NULL);
        return 0;
    }
    struct kl_chat_input input;
    read_messages(data + len, size - len, &input);
    size_t before = sum(&input), n_messages = input.n_messages;
    PROMISE(kl_late_lines_move(late, &input, &n, &error) == KL_OK);
    PROMISE(sum(&input) == before);
    PROMISE(n > 0 ? input.late != NULL && input.n_messages <= n_messages + 1
                  : input.late == NULL && input.n_messages == n_messages);
    char *first = input.late;
    input.late = NULL; /* its texts are still read */
    PROMISE(kl_late_lines_move(late, &input, &again, &error) == KL_OK);
    PROMISE(again == n && sum(&input) == before);
    kl_chat_input_release(&input);
    free(first);
    kl_late_lines_close(late);
    return 0;
}

/*
 * Compiles a pattern and follows a text: bounded memory, dead states stay dead, and a state from
 * which every continuation matches accepts. The input is the mode, the pattern up to a NUL, the
 * text.
 */
#include <string.h>

#include "fuzz.h"
#include "grammar/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum kl_regex_mode mode = take_byte(&data, &size) & 1 ? KL_REGEX_WHOLE : KL_REGEX_SEARCH;
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    size_t len = end != NULL ? (size_t)(end - data) : size;
    struct kl_regex *regex;
    struct kl_regex_run *run;
    struct kl_error err = {0};
    enum kl_status status = kl_regex_compile((const char *)data, len, mode, &regex, &err);
    if (status != KL_OK) {
        PROMISE(regex == NULL && err.text[0] != '\0');
        return 0;
    }
    PROMISE(kl_regex_positions(regex) <= KL_REGEX_MAX_POSITIONS);
    if (kl_regex_run_open(regex, &run, &err) == KL_OK) {
        uint32_t state = kl_regex_run_start(run);
        for (size_t i = len; i < size; i++) {
            uint32_t next = kl_regex_run_step(run, state, data[i]);
            PROMISE(state != KL_REGEX_DEAD || next == KL_REGEX_DEAD);
            PROMISE(next == kl_regex_run_step(run, state, data[i]));
            state = next;
            PROMISE(!kl_regex_run_accepts_all(run, state) || kl_regex_run_accepts(run, state));
        }
        PROMISE(!kl_regex_run_accepts(run, KL_REGEX_DEAD));
        kl_regex_run_close(run);
    }
    kl_regex_free(regex);
    return 0;
}

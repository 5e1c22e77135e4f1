#include "engine/stop.h"

#include <string.h>

#include "base/utf8.h"

/* Returns the length of the match after one more byte. */
static uint16_t step(const struct kl_stop_string *s, uint16_t matched, char byte)
{
    while (matched > 0 && s->text[matched] != byte)
        matched = s->fallback[matched - 1];
    return s->text[matched] == byte ? (uint16_t)(matched + 1) : matched;
}

static void prepare(struct kl_stop_string *s, const char *text, size_t len)
{
    memcpy(s->text, text, len);
    s->len = (uint16_t)len;
    s->matched = 0;
    s->fallback[0] = 0;
    for (size_t i = 1; i < len; i++)
        s->fallback[i] = step(s, s->fallback[i - 1], text[i]);
}

enum kl_status kl_stop_init(struct kl_stop_matcher *m, const char *const *stops, size_t n_stops,
                            struct kl_error *err)
{
    m->n = m->found = 0;
    if (n_stops > KL_MAX_STOPS)
        return kl_fail(err, KL_ERR_INVALID, "stop: expected at most %d strings, found %zu",
                       KL_MAX_STOPS, n_stops);
    for (size_t i = 0; i < n_stops; i++) {
        size_t len = stops[i] == NULL ? 0 : strlen(stops[i]);
        if (len == 0)
            return kl_fail(err, KL_ERR_INVALID, "stop: string %zu is empty", i + 1);
        if (len > KL_MAX_STOP_SIZE)
            return kl_fail(err, KL_ERR_INVALID,
                           "stop: string %zu has %zu bytes, expected at most %d", i + 1, len,
                           KL_MAX_STOP_SIZE);
        if (!kl_utf8_valid(stops[i], len))
            return kl_fail(err, KL_ERR_INVALID, "stop: string %zu is not valid UTF-8", i + 1);
        prepare(&m->strings[i], stops[i], len);
    }
    m->n = n_stops;
    return KL_OK;
}

size_t kl_stop_scan(struct kl_stop_matcher *m, const char *text, size_t len, bool *found)
{
    size_t longest = 0;
    *found = false;
    for (size_t at = 0; at < len; at++) {
        for (size_t i = 0; i < m->n; i++) {
            struct kl_stop_string *s = &m->strings[i];
            s->matched = step(s, s->matched, text[at]);
            if (s->matched == s->len && s->len > longest) {
                longest = s->len;
                m->found = i + 1;
            }
        }
        if (longest > 0) {
            *found = true;
            return longest + (len - at - 1);
        }
    }
    for (size_t i = 0; i < m->n; i++) {
        if (m->strings[i].matched > longest)
            longest = m->strings[i].matched;
    }
    return longest;
}

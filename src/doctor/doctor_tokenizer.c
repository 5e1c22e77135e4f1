#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "doctor/doctor.h"
#include "doctor/tokenizer_vectors.h"

#define AREA "tokenizer"

/* ---- speed ----------------------------------------------------------------------------------- */

static const struct {
    const char *kind, *text;
    double slow; /* MB/s; less is a warning */
} samples[] = {
    {"Chinese", "清晨的海面上起了薄雾,灯塔的光慢慢淡下去。渔民们把网拖上船,数着今天的收获。", 3},
    {"English", "The lighthouse keeper wrote down the weather every hour, and few people read it. ",
     8},
    {"code", "for (size_t i = 0; i < n; i++) {\n    sum += values[i] * weights[i];\n}\n", 8},
};

static double encode_speed(const struct kl_tokenizer *tokenizer, const char *text)
{
    struct kl_tokens tokens = {0};
    size_t len = strlen(text), repeat = (size_t)200000 / len;
    char *long_text = malloc(len * repeat);
    if (long_text == NULL)
        return 0;
    for (size_t i = 0; i < repeat; i++)
        memcpy(long_text + i * len, text, len);
    const struct kl_span span = {.text = long_text, .len = len * repeat};
    double best = INFINITY;
    for (int i = 0; i < 3; i++) {
        tokens.len = 0;
        uint64_t start = kl_now_ns();
        if (kl_tokenizer_encode(tokenizer, &span, 1, &tokens, NULL) != KL_OK)
            best = INFINITY;
        else
            best = fmin(best, kl_seconds_since(start));
    }
    kl_tokens_release(&tokens);
    free(long_text);
    return (double)span.len / best * 1e-6;
}

static void check_speed(struct kl_findings *findings, const struct kl_loaded *l)
{
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        double speed = encode_speed(l->tokenizer, samples[i].text);
        bool slow = speed < samples[i].slow;
        if (!slow) {
            kl_found(findings, KL_GOOD, AREA, "%s: %.0f MB/s", samples[i].kind, speed);
            continue;
        }
        kl_found_cost(kl_found(findings, KL_WARNING, AREA,
                               "%s: %.1f MB/s; a small CPU reaches more than %.0f", samples[i].kind,
                               speed, samples[i].slow),
                      "a prompt of 10 KB takes %.1f ms", 10 / speed);
    }
}

/* ---- the same ids as the reference ----------------------------------------------------------- */

/* Returns the stored ids of this vocabulary; NULL: there are none. */
static const struct kl_tokenizer_vectors *find_vectors(const struct kl_loaded *l)
{
    struct kl_gguf_string pre;
    if (kl_gguf_string(l->gguf, "tokenizer.ggml.pre", &pre, NULL) != KL_OK)
        return NULL;
    for (const struct kl_tokenizer_vectors *v = kl_tokenizer_vectors; v->pre != NULL; v++)
        if (pre.len == strlen(v->pre) && memcmp(pre.data, v->pre, pre.len) == 0 &&
            kl_tokenizer_size(l->tokenizer) == v->n_vocab)
            return v;
    return NULL;
}

/* Whether the ids of a text are the stored ones; if not, `what` describes the first difference. */
static bool same_ids(const struct kl_tokenizer *tokenizer, const struct kl_tokenizer_vector *v,
                     char *what, size_t size)
{
    struct kl_tokens got = {0};
    struct kl_error err = {0};
    const struct kl_span span = {.text = v->text, .len = strlen(v->text), .special = v->special};
    bool same = kl_tokenizer_encode(tokenizer, &span, 1, &got, &err) == KL_OK;
    size_t i = 0;
    while (same && i < v->n_ids && i < got.len && got.ids[i] == v->ids[i])
        i++;
    if (!same)
        snprintf(what, size, "%s", err.text);
    else if (i < v->n_ids && i < got.len)
        snprintf(what, size, "token %zu is %" PRId32 " instead of %" PRId32, i, got.ids[i],
                 v->ids[i]);
    else
        snprintf(what, size, "%zu tokens instead of %zu", got.len, v->n_ids);
    same = same && i == v->n_ids && i == got.len;
    kl_tokens_release(&got);
    return same;
}

static void check_ids(struct kl_findings *findings, const struct kl_loaded *l)
{
    const struct kl_tokenizer_vectors *vectors = find_vectors(l);
    char kinds[200] = "", what[sizeof((struct kl_error *)0)->text];
    if (vectors == NULL) {
        kl_found(findings, KL_NOTE, AREA,
                 "no ids of this vocabulary (%zu tokens) are stored for comparison",
                 kl_tokenizer_size(l->tokenizer));
        return;
    }
    for (size_t i = 0; i < vectors->n; i++) {
        const struct kl_tokenizer_vector *v = &vectors->items[i];
        size_t used = strlen(kinds);
        if (!same_ids(l->tokenizer, v, what, sizeof what)) {
            struct kl_finding *bad =
                kl_found(findings, KL_BROKEN, AREA,
                         "%s: not the ids of Hugging Face's tokenizers: %s", v->kind, what);
            kl_found_cost(bad, "the model reads other words than the user wrote");
            kl_found_remedy(bad, "delete the directory packed/ in the cache; if that does not "
                                 "help, download the model file again: its vocabulary has the "
                                 "size but not the words of the model that it names");
            return;
        }
        snprintf(kinds + used, sizeof kinds - used, "%s%s", i > 0 ? ", " : "", v->kind);
    }
    kl_found(findings, KL_GOOD, AREA,
             "the ids of %zu texts are those of Hugging Face's tokenizers (%s)", vectors->n, kinds);
}

void kl_doctor_tokenizer(struct kl_findings *findings, const struct kl_loaded *loaded)
{
    check_ids(findings, loaded);
    check_speed(findings, loaded);
}

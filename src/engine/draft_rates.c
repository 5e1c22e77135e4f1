#include "engine/draft_rates.h"

#include <math.h>

/* Guesses after which a count is halved: a request goes from copying to new text and back within
 * some tens of tokens; of all requests, thousands are worth remembering. */
#define OWN_GUESSES 24.0f
#define ALL_GUESSES 2048.0f

/* The rate of all requests counts as much as this many guesses of the request itself. */
#define PRIOR_WEIGHT 6.0f

/* The weight of the initial rates in guesses. */
#define INITIAL_GUESSES 32.0f

const char *kl_draft_source_name(enum kl_draft_source source)
{
    static const char *const names[KL_N_DRAFT_SOURCES] = {
        [KL_DRAFT_CONVERSATION] = "conversation",
        [KL_DRAFT_EARLIER] = "earlier",
        [KL_DRAFT_PREDICTION] = "prediction",
        [KL_DRAFT_RULE] = "rule",
    };
    return names[source];
}

static size_t class_of(size_t length, size_t before)
{
    static const size_t first[] = {2, 3, 4, 6, 8, 12, 16, 32};
    enum { N = sizeof first / sizeof first[0] };
    _Static_assert(N + 6 == KL_DRAFT_CLASSES, "the header lists them");
    if (length < 2)
        return N + 3 * length + (before < 4 ? 0 : before < 16 ? 1 : 2);
    size_t class = N - 1;
    while (length < first[class])
        class --;
    return class;
}

void kl_draft_rates_init(struct kl_draft_rates *rates)
{
    static const float initial[KL_DRAFT_CLASSES] = {0.45f, 0.55f, 0.65f, 0.75f, 0.8f, 0.9f, 0.92f,
                                                    0.95f, 0.1f,  0.2f,  0.3f,  0.3f, 0.5f, 0.6f};
    for (size_t s = 0; s < KL_N_DRAFT_SOURCES; s++)
        for (size_t c = 0; c < KL_DRAFT_CLASSES; c++)
            rates->rates[s][c] =
                (struct kl_draft_rate){initial[c] * INITIAL_GUESSES, INITIAL_GUESSES};
}

static void count(struct kl_draft_rate *rate, bool right, float most)
{
    rate->all += 1.0f;
    rate->right += right ? 1.0f : 0.0f;
    if (rate->all >= most) {
        rate->all /= 2.0f;
        rate->right /= 2.0f;
    }
}

void kl_draft_rates_count(struct kl_draft_rates *own, struct kl_draft_rates *all,
                          enum kl_draft_source source, size_t length, size_t before, bool right)
{
    size_t class = class_of(length, before);
    count(&own->rates[source][class], right, OWN_GUESSES);
    count(&all->rates[source][class], right, ALL_GUESSES);
}

float kl_draft_rates_chance(const struct kl_draft_rates *own, const struct kl_draft_rates *all,
                            enum kl_draft_source source, size_t length, size_t before)
{
    size_t class = class_of(length, before);
    const struct kl_draft_rate *o = &own->rates[source][class], *a = &all->rates[source][class];
    return (o->right + PRIOR_WEIGHT * a->right / a->all) / (o->all + PRIOR_WEIGHT);
}

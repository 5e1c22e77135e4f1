#include "console/nearest.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define NEAREST_MAX 48 /* longer words are not typing errors */

static size_t edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > NEAREST_MAX || m > NEAREST_MAX)
        return SIZE_MAX;
    size_t d[NEAREST_MAX + 1][NEAREST_MAX + 1];
    for (size_t i = 0; i <= n; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

void kl_nearest_init(struct kl_nearest *nearest, const char *word)
{
    *nearest = (struct kl_nearest){.word = word, .distance = SIZE_MAX};
}

void kl_nearest_consider(struct kl_nearest *nearest, const char *name)
{
    size_t len = strlen(nearest->word);
    size_t distance = edit_distance(nearest->word, name);
    /* an abbreviation, however many letters are missing */
    if (len >= 3 && strncmp(nearest->word, name, len) == 0)
        distance = 1;
    /* if more than every third letter is wrong, it is another word */
    size_t limit = len / 3 > 2 ? len / 3 : 2;
    if (len < 4)
        limit = 1;
    if (distance <= limit && distance < nearest->distance) {
        nearest->best = name;
        nearest->distance = distance;
    }
}

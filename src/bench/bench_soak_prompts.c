#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench_soak.h"
#include "console/input.h"

#define TEXT_CAP ((size_t)16 << 20) /* of one file */

extern const char kl_prompts_chinese[], kl_prompts_code[], kl_prompts_conversations[];

/* The conversations of one kind, in the order of its file. */
struct kind_items {
    struct kl_soak_item *items;
    size_t n;
};

/* Replaces "\n" by a line end, in place. */
static void unescape(char *line)
{
    char *to = line;
    for (const char *at = line; *at != '\0'; at++) {
        bool is_end = at[0] == '\\' && at[1] == 'n';
        *to++ = is_end ? '\n' : *at;
        at += is_end;
    }
    *to = '\0';
}

static enum kl_status add_turn(struct kind_items *kind, const char *name, size_t line, char *text,
                               struct kl_error *err)
{
    bool goes_on = strncmp(text, "+ ", 2) == 0;
    unescape(text);
    if (goes_on && kind->n == 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "prompts %s, line %zu: \"+\" has no conversation above to continue", name,
                       line);
    if (goes_on) {
        struct kl_soak_item *item = &kind->items[kind->n - 1];
        if (item->n_turns == KL_SOAK_TURNS)
            return kl_fail(err, KL_ERR_INVALID,
                           "prompts %s, line %zu: a conversation has at most %d questions", name,
                           line, KL_SOAK_TURNS);
        item->turns[item->n_turns++] = text + 2;
        return KL_OK;
    }
    struct kl_soak_item *more = realloc(kind->items, (kind->n + 1) * sizeof *more);
    if (more == NULL)
        return kl_fail_memory(err, "the prompts", (kind->n + 1) * sizeof *more);
    kind->items = more;
    more[kind->n++] = (struct kl_soak_item){.turns = {text}, .n_turns = 1};
    return KL_OK;
}

static enum kl_status split(char *text, const char *name, struct kind_items *kind,
                            struct kl_error *err)
{
    enum kl_status status = KL_OK;
    char *line;
    for (size_t number = 1; status == KL_OK && (line = strsep(&text, "\n")) != NULL; number++) {
        line[strcspn(line, "\r")] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            status = add_turn(kind, name, number, line, err);
    }
    if (status == KL_OK && kind->n == 0)
        status = kl_fail(err, KL_ERR_INVALID, "prompts %s: it contains no question", name);
    return status;
}

/* ---- the texts ------------------------------------------------------------------------------- */

static enum kl_status take_own(struct kl_soak_prompts *p, struct kl_error *err)
{
    static const struct {
        const char *name, *text;
    } own[] = {{"chinese", kl_prompts_chinese},
               {"code", kl_prompts_code},
               {"conversations", kl_prompts_conversations}};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        snprintf(p->names[i], sizeof p->names[i], "%s", own[i].name);
        p->texts[i] = strdup(own[i].text);
        p->n_kinds++;
        if (p->texts[i] == NULL)
            return kl_fail_memory(err, "the prompts", strlen(own[i].text));
    }
    return KL_OK;
}

static int is_prompts(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + len - 4, ".txt") == 0;
}

static enum kl_status take_file(struct kl_soak_prompts *p, const char *directory, const char *name,
                                struct kl_error *err)
{
    char path[PATH_MAX];
    size_t len = strlen(name) - 4;
    if (p->n_kinds == KL_SOAK_KINDS)
        return kl_fail(err, KL_ERR_INVALID, "--prompts: %s holds more than %d files *.txt",
                       directory, KL_SOAK_KINDS);
    if (len >= sizeof p->names[0] ||
        (size_t)snprintf(path, sizeof path, "%s/%s", directory, name) >= sizeof path)
        return kl_fail(err, KL_ERR_INVALID, "--prompts: the name of %s/%s is too long", directory,
                       name);
    struct kl_buffer text;
    kl_buffer_init(&text, TEXT_CAP);
    enum kl_status status = kl_read_text(path, &text, err);
    if (status != KL_OK) {
        kl_buffer_release(&text);
        return status;
    }
    snprintf(p->names[p->n_kinds], sizeof p->names[0], "%.*s", (int)len, name);
    p->texts[p->n_kinds++] = text.data; /* released by free() */
    return KL_OK;
}

static enum kl_status take_directory(struct kl_soak_prompts *p, const char *directory,
                                     struct kl_error *err)
{
    struct dirent **entries;
    int n = scandir(directory, &entries, is_prompts, alphasort);
    if (n < 0)
        return kl_fail_errno(err, "--prompts: cannot read the directory %s", directory);
    enum kl_status status = KL_OK;
    for (int i = 0; i < n; i++) {
        if (status == KL_OK)
            status = take_file(p, directory, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    if (status == KL_OK && n == 0)
        status = kl_fail(err, KL_ERR_INVALID, "--prompts: %s holds no file *.txt", directory);
    return status;
}

/* ---- all together ---------------------------------------------------------------------------- */

/* Interleaves the kinds, so that any part of a round is a mixture. */
static enum kl_status mix(struct kl_soak_prompts *p, const struct kind_items *kinds,
                          struct kl_error *err)
{
    size_t n = 0, longest = 0;
    for (size_t k = 0; k < p->n_kinds; k++) {
        n += kinds[k].n;
        longest = kinds[k].n > longest ? kinds[k].n : longest;
    }
    p->items = malloc(n * sizeof *p->items);
    if (p->items == NULL)
        return kl_fail_memory(err, "the prompts", n * sizeof *p->items);
    for (size_t i = 0; i < longest; i++) {
        for (size_t k = 0; k < p->n_kinds; k++) {
            if (i >= kinds[k].n)
                continue;
            p->items[p->n_items] = kinds[k].items[i];
            p->items[p->n_items++].kind = k;
        }
    }
    return KL_OK;
}

enum kl_status kl_soak_prompts_read(const char *directory, struct kl_soak_prompts *p,
                                    struct kl_error *err)
{
    struct kind_items kinds[KL_SOAK_KINDS] = {0};
    *p = (struct kl_soak_prompts){0};
    enum kl_status status =
        directory == NULL ? take_own(p, err) : take_directory(p, directory, err);
    for (size_t k = 0; k < p->n_kinds && status == KL_OK; k++)
        status = split(p->texts[k], p->names[k], &kinds[k], err);
    if (status == KL_OK)
        status = mix(p, kinds, err);
    for (size_t k = 0; k < p->n_kinds; k++)
        free(kinds[k].items);
    return status;
}

void kl_soak_prompts_release(struct kl_soak_prompts *p)
{
    for (size_t k = 0; k < p->n_kinds; k++)
        free(p->texts[k]);
    free(p->items);
    *p = (struct kl_soak_prompts){0};
}

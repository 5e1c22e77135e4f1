#include "load/prefixes.h"

#include <limits.h>
#include <string.h>

#include "base/cache_dir.h"
#include "base/log.h"
#include "base/today.h"
#include "console/input.h"
#include "kernels/kernels.h"
#include "text/chat_template.h"

#define TEXTS_CAP ((size_t)256 << 10)

/* Below this budget half the memory is taken for pages that wait to be written: a slow disk then
 * loses some of a long prompt, which is computed again the next time. */
#define SMALL_BUDGET ((uint64_t)1 << 30)

/* ---- on disk --------------------------------------------------------------------------------- */

static struct kl_page_store_options store_options(const struct kl_model *model,
                                                  const struct kl_plan *plan, uint64_t max_bytes)
{
    bool is_small = plan->budget != 0 && plan->budget < SMALL_BUDGET;
    return (struct kl_page_store_options){
        .dir = "",
        .identity = "",
        .page_bytes = kl_kv_bytes_per_token(model) * KL_KV_PAGE_TOKENS,
        .max_bytes = max_bytes,
        .queue_bytes = is_small ? KL_PAGE_QUEUE_BYTES / 2 : KL_PAGE_QUEUE_BYTES};
}

static void add_line(struct kl_plan *plan, uint64_t bytes)
{
    kl_plan_add(plan, "prompts to be written to disk", bytes, "--cache-disk");
}

void kl_plan_page_store(const struct kl_loaded *loaded, uint64_t max_bytes, struct kl_plan *plan)
{
    const struct kl_page_store_options options = store_options(loaded->model, plan, max_bytes);
    if (max_bytes > 0)
        add_line(plan, kl_page_store_memory_of(&options));
}

struct kl_page_store *kl_open_page_store(struct kl_loaded *loaded, uint64_t max_bytes,
                                         _Atomic(uint64_t) *written)
{
    if (max_bytes == 0)
        return NULL;
    char dir[PATH_MAX], identity[KL_KV_IDENTITY_SIZE];
    struct kl_page_store *store = NULL;
    struct kl_error err;
    struct kl_page_store_options options = store_options(loaded->model, &loaded->plan, max_bytes);
    kl_kv_identity(loaded->model, identity);
    options.dir = dir;
    options.written = written;
    options.identity = identity;
    options.identity_size = strlen(identity);
    enum kl_status status = kl_cache_prepare("prefixes", dir, sizeof dir, &err);
    if (status == KL_OK)
        status = kl_page_store_open(&options, &store, &err);
    if (status != KL_OK) {
        kl_warning("prompts are not kept on disk: %s", err.text);
        return NULL;
    }
    add_line(&loaded->plan, kl_page_store_memory(store));
    return store;
}

/* ---- precomputing ---------------------------------------------------------------------------- */

/* The most common first messages. */
static const char *const greetings[] = {"你好",  "您好",  "谢谢", "在吗", "你是谁", "早上好",
                                        "hello", "Hello", "hi",   "Hi",   "Thanks", "Who are you?"};
#define N_GREETINGS (sizeof greetings / sizeof greetings[0])

enum kl_status kl_precompute_texts_read(const char *path, struct kl_precompute_texts *texts,
                                        struct kl_error *err)
{
    texts->n = 0;
    kl_buffer_init(&texts->text, TEXTS_CAP);
    if (path == NULL)
        return KL_OK;
    enum kl_status status = kl_read_text(path, &texts->text, err);
    if (status != KL_OK)
        return status;
    char *rest = texts->text.data, *line;
    while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
        line[strcspn(line, "\r")] = '\0';
        if (*line == '\0')
            continue;
        if (texts->n == KL_MAX_PRECOMPUTED_TEXTS)
            return kl_fail(err, KL_ERR_INVALID, "--warm: %s has more than %d lines", path,
                           KL_MAX_PRECOMPUTED_TEXTS);
        texts->lines[texts->n++] = line;
    }
    return KL_OK;
}

void kl_precompute_texts_release(struct kl_precompute_texts *texts)
{
    kl_buffer_release(&texts->text);
}

static void precompute_text(struct kl_engine *engine, const struct kl_loaded *loaded,
                            const char *text)
{
    const struct kl_message message = {
        .role = "user", .content = text, .content_len = strlen(text)};
    char today[KL_DATE_SIZE];
    kl_today(today);
    const struct kl_chat chat = {
        .messages = &message, .n_messages = 1, .date = today, .add_generation_prompt = true};
    struct kl_prompt prompt;
    struct kl_tokens tokens = {0};
    struct kl_error err;
    enum kl_status status = kl_chat_render(loaded->chat_template, &chat, &prompt, &err);
    if (status == KL_OK) {
        status =
            kl_tokenizer_encode(loaded->tokenizer, prompt.spans, prompt.n_spans, &tokens, &err);
        kl_prompt_release(&prompt);
    }
    if (status == KL_OK)
        status = kl_engine_precompute(engine, tokens.ids, tokens.len, &err);
    if (status != KL_OK)
        kl_warning("\"%.40s\" is not precomputed: %s", text, err.text);
    kl_tokens_release(&tokens);
}

void kl_precompute(struct kl_engine *engine, const struct kl_loaded *loaded,
                   const struct kl_precompute_texts *texts)
{
    if (kl_load_only_embeds(loaded))
        return;
    for (size_t i = 0; i < texts->n; i++)
        precompute_text(engine, loaded, texts->lines[i]);
    for (size_t i = 0; i < N_GREETINGS; i++)
        precompute_text(engine, loaded, greetings[i]);
}

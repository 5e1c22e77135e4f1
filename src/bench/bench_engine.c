/* The engine as users see it: the time of a start, the time to the first token, and memory. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "console/interrupt.h"
#include "engine/engine.h"
#include "model/model.h"

static enum kl_status fail_interrupted(struct kl_error *err)
{
    return kl_fail(err, KL_ERR_CANCELLED, "interrupted");
}

/* ---- start ----------------------------------------------------------------------------------- */

enum kl_status kl_bench_open_engine(const struct kl_bench *b, size_t draft_max,
                                    struct kl_engine **engine, struct kl_error *err)
{
    struct kl_plan plan = b->loaded->plan;
    const struct kl_engine_options options = {.ctx_size = b->loaded->ctx_size,
                                              .parallel = 1,
                                              .queue_size = 1,
                                              .prefill_chunk = b->options->chunk,
                                              .n_threads = b->loaded->threads.decode,
                                              .n_threads_prefill = b->loaded->threads.prefill,
                                              .draft_max = draft_max,
                                              .pass_costs = &b->loaded->pass_costs,
                                              .plan = &plan};
    return kl_engine_open(b->loaded->model, b->loaded->tokenizer, &options, engine, err);
}

static enum kl_status start_once(struct kl_bench *b, double *all, double *engine_seconds,
                                 struct kl_error *err)
{
    uint64_t start = kl_now_ns();
    enum kl_status status = kl_load(b->loaded, &b->options->load, KL_LOAD_MODEL, err);
    if (status != KL_OK)
        return status;
    struct kl_engine *engine;
    uint64_t engine_start = kl_now_ns();
    status = kl_bench_open_engine(b, b->options->load.draft_max, &engine, err);
    *engine_seconds = kl_seconds_since(engine_start);
    *all = kl_seconds_since(start);
    if (status == KL_OK)
        kl_engine_close(engine);
    return status;
}

enum kl_status kl_bench_measure_start(struct kl_bench *b, struct kl_error *err)
{
    enum { FILE_STAGE, TOKENIZER, WEIGHTS, ENGINE, ALL, N };
    double seconds[N][KL_BENCH_MAX_REPEAT];
    size_t repeat = b->options->repeat;
    enum kl_status status = KL_OK;
    /* loading has already logged its messages once */
    enum kl_log_level level = KL_LOG_DEBUG;
    while (!kl_log_enabled(level))
        level++;
    kl_log_set_level(KL_LOG_ERROR);
    for (size_t i = 0; i < repeat && status == KL_OK; i++) {
        if (kl_interrupt_pending())
            status = fail_interrupted(err);
        kl_unload(b->loaded);
        if (status == KL_OK)
            status = start_once(b, &seconds[ALL][i], &seconds[ENGINE][i], err);
        seconds[FILE_STAGE][i] = b->loaded->times.file;
        seconds[TOKENIZER][i] = b->loaded->times.tokenizer;
        seconds[WEIGHTS][i] = b->loaded->times.weights;
    }
    kl_log_set_level(level);
    if (status != KL_OK)
        return status;
    b->start = (struct kl_bench_start){
        .file = kl_bench_summarise(seconds[FILE_STAGE], repeat),
        .tokenizer = kl_bench_summarise(seconds[TOKENIZER], repeat),
        .weights = kl_bench_summarise(seconds[WEIGHTS], repeat),
        .engine = kl_bench_summarise(seconds[ENGINE], repeat),
        .all = kl_bench_summarise(seconds[ALL], repeat),
    };
    return KL_OK;
}

/* ---- the first token ------------------------------------------------------------------------- */

#define CHARACTER_BYTES 3 /* of each in UTF-8 */
#define CHARACTERS      200
static const char story[] =
    "清晨的集市刚刚开门，卖菜的老人把一捆捆青菜摆得整整齐齐，叶子上还挂着露水。"
    "旁边的小摊冒着热气，豆浆和油条的香味飘得很远，上学的孩子一边走一边吃，"
    "书包在背上一跳一跳。河边有人打太极拳，动作很慢，像水里的云。"
    "桥头修自行车的师傅已经忙了起来，他说这座城每天醒得都比太阳早。"
    "到了中午，街上安静下来，只有树上的蝉还在唱歌。"
    "请你先用三句话概括这段文字，再说说作者想表达怎样的心情，最后给它起一个合适的标题，谢谢。";
_Static_assert(sizeof story - 1 == CHARACTERS * CHARACTER_BYTES, "200 characters");

/* Rotates the story by another number of characters in each run, so that no two prompts begin alike
 * and the prefix cache cannot help. 61 and 200 have no common divisor. */
static void turned_story(size_t run, char out[sizeof story])
{
    size_t at = run * 61 % CHARACTERS * CHARACTER_BYTES;
    memcpy(out, story + at, sizeof story - 1 - at);
    memcpy(out + sizeof story - 1 - at, story, at);
    out[sizeof story - 1] = '\0';
}

enum kl_status kl_bench_submit(struct kl_bench *b, struct kl_engine *engine, const char *text,
                               size_t max_tokens, size_t *n_prompt, struct kl_request **request,
                               struct kl_error *err)
{
    const struct kl_message message = {
        .role = "user", .content = text, .content_len = strlen(text)};
    const struct kl_chat chat = {
        .messages = &message, .n_messages = 1, .add_generation_prompt = true};
    struct kl_prompt prompt;
    struct kl_tokens tokens = {0};
    enum kl_status status = kl_chat_render(b->loaded->chat_template, &chat, &prompt, err);
    if (status != KL_OK)
        return status;
    status = kl_tokenizer_encode(b->loaded->tokenizer, prompt.spans, prompt.n_spans, &tokens, err);
    if (status == KL_OK) {
        const struct kl_request_options options = {
            .tokens = tokens.ids,
            .n_tokens = tokens.len,
            .max_tokens = max_tokens,
            .sampling = {.top_p = 1, .repetition_penalty = 1},
        };
        *n_prompt = tokens.len;
        status = kl_engine_submit(engine, &options, request, err);
    }
    kl_tokens_release(&tokens);
    kl_prompt_release(&prompt);
    return status;
}

/* Waits for the first text, or for the end of an answer without text (a model that ends its turn at
 * once). */
static enum kl_status wait_for_text(struct kl_engine *engine, struct kl_request *request,
                                    uint64_t start, double *seconds, struct kl_error *err)
{
    struct kl_event event;
    bool seen = false;
    for (;;) {
        if (!kl_interrupt_wait(kl_engine_wake_fd(engine)))
            return fail_interrupted(err);
        kl_engine_wake_clear(engine);
        while (kl_request_poll(request, &event)) {
            bool done = event.type == KL_EVENT_DONE;
            if (!seen && (done || event.type == KL_EVENT_TEXT)) {
                *seconds = kl_seconds_since(start);
                seen = true;
            }
            if (done && event.finish == KL_FINISH_ERROR)
                return kl_fail(err, KL_ERR_IO, "the engine failed: %s", event.text);
            if (done)
                return KL_OK;
        }
    }
}

static enum kl_status first_token_once(struct kl_bench *b, struct kl_engine *engine, size_t run,
                                       double *seconds, struct kl_error *err)
{
    char text[sizeof story];
    struct kl_request *request = NULL;
    turned_story(run, text);
    uint64_t start = kl_now_ns();
    const size_t whole_characters = 8; /* tokens that are certainly enough for one */
    enum kl_status status =
        kl_bench_submit(b, engine, text, whole_characters, &b->first.prompt_tokens, &request, err);
    if (status == KL_OK)
        status = wait_for_text(engine, request, start, seconds, err);
    kl_request_release(request);
    return status;
}

static void read_memory(struct kl_bench *b, struct kl_engine *engine)
{
    struct kl_resident resident = kl_memory_resident();
    struct kl_engine_stats stats;
    kl_engine_stats(engine, &stats);
    struct kl_model_work work = kl_model_work(b->loaded->model);
    b->memory = (struct kl_bench_memory){
        .resident = resident.all,
        .anonymous = resident.anonymous,
        .file = resident.all - resident.anonymous,
        .peak = resident.peak,
        .weights = work.bytes_per_token + work.bytes_for_logits,
        .forward = stats.buffer_bytes,
        .kv = b->first.prompt_tokens * kl_kv_bytes_per_token(b->loaded->model),
    };
}

enum kl_status kl_bench_measure_first_token(struct kl_bench *b, struct kl_error *err)
{
    struct kl_engine *engine = NULL;
    size_t repeat = b->options->repeat;
    kl_bench_forget_peak();
    enum kl_status status = kl_bench_open_engine(b, b->options->load.draft_max, &engine, err);
    double ignored;
    if (status == KL_OK)
        status = first_token_once(b, engine, 0, &ignored, err); /* to warm up */
    for (size_t i = 0; i < repeat && status == KL_OK; i++)
        status = first_token_once(b, engine, i + 1, &b->first.samples[i], err);
    if (status == KL_OK) {
        b->first.characters = CHARACTERS;
        b->first.seconds = kl_bench_summarise(b->first.samples, repeat);
        read_memory(b, engine);
    }
    kl_engine_close(engine);
    return status;
}

/* The same answer with and without drafts: a small change of a given text, which drafts are for. */
#include "bench/bench.h"
#include "console/interrupt.h"
#include "engine/engine.h"

#define MOST_TOKENS 192

static const char edit[] =
    "Rename the variable \"s\" to \"total\" in this code. Answer with the whole code and nothing "
    "else.\n\n"
    "def statistics(numbers):\n"
    "    s = 0\n"
    "    smallest = numbers[0]\n"
    "    largest = numbers[0]\n"
    "    for value in numbers:\n"
    "        s += value\n"
    "        if value < smallest:\n"
    "            smallest = value\n"
    "        if value > largest:\n"
    "            largest = value\n"
    "    mean = s / len(numbers)\n"
    "    return {\"sum\": s, \"mean\": mean, \"smallest\": smallest, \"largest\": largest}\n";

/* Waits for the end of an answer; *speed: tokens/s behind the first token. */
static enum kl_status wait_for_end(struct kl_engine *engine, struct kl_request *request,
                                   struct kl_event *done, double *speed, struct kl_error *err)
{
    do {
        if (!kl_interrupt_wait(kl_engine_wake_fd(engine)))
            return kl_fail(err, KL_ERR_CANCELLED, "interrupted");
        kl_engine_wake_clear(engine);
        while (kl_request_poll(request, done) && done->type != KL_EVENT_DONE)
            continue;
    } while (done->type != KL_EVENT_DONE);
    if (done->finish == KL_FINISH_ERROR)
        return kl_fail(err, KL_ERR_IO, "the engine failed: %s", done->text);
    *speed = done->decode_seconds > 0.0 ? (double)done->answer_tokens / done->decode_seconds : 0.0;
    return KL_OK;
}

/* Each answer has an engine of its own, which has seen no earlier one. */
static enum kl_status answer_once(struct kl_bench *b, size_t draft_max, double *speed,
                                  struct kl_error *err)
{
    struct kl_engine *engine = NULL;
    struct kl_request *request = NULL;
    struct kl_event done = {.type = KL_EVENT_TEXT};
    size_t n_prompt;
    enum kl_status status = kl_bench_open_engine(b, draft_max, &engine, err);
    if (status == KL_OK)
        status = kl_bench_submit(b, engine, edit, MOST_TOKENS, &n_prompt, &request, err);
    if (status == KL_OK)
        status = wait_for_end(engine, request, &done, speed, err);
    if (status == KL_OK) {
        b->drafts.answer_tokens = done.answer_tokens;
        b->drafts.drafted = done.drafted_tokens;
        b->drafts.accepted = done.accepted_tokens;
    }
    kl_request_release(request);
    kl_engine_close(engine);
    return status;
}

enum kl_status kl_bench_measure_drafts(struct kl_bench *b, struct kl_error *err)
{
    size_t repeat = b->options->repeat, draft_max = b->options->load.draft_max;
    double without[KL_BENCH_MAX_REPEAT], with[KL_BENCH_MAX_REPEAT];
    enum kl_status status = answer_once(b, draft_max, &with[0], err); /* to warm up */
    for (size_t i = 0; i < repeat && status == KL_OK; i++) {
        status = answer_once(b, 0, &without[i], err);
        if (status == KL_OK)
            status = answer_once(b, draft_max, &with[i], err);
    }
    if (status == KL_OK) {
        b->drafts.without = kl_bench_summarise(without, repeat);
        b->drafts.with = kl_bench_summarise(with, repeat);
    }
    return status;
}

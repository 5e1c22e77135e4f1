#include "load/load_options.h"

#include "base/pool.h"
#include "engine/pass_costs.h"
#include "kernels/kernels.h"

const char *kl_load_stage_name(enum kl_load_stage stage)
{
    static const char *const names[] = {
        [KL_LOAD_DOWNLOADING] = "downloading", [KL_LOAD_OPENING] = "opening",
        [KL_LOAD_PACKING] = "packing",         [KL_LOAD_READING] = "reading",
        [KL_LOAD_MEASURING] = "measuring",
    };
    return names[stage];
}

void kl_load_add_model_option(struct kl_option_table *table, struct kl_load_options *o)
{
    const struct kl_option row = {
        "model",
        'm',
        KL_OPTION_STRING,
        "NAME|FILE",
        "a name from 'kinglet pull --list', OWNER/REPO:QUANT of Hugging Face or ModelScope, a name "
        "of Ollama's, or a GGUF file, of several parts the first; if not given, $KINGLET_MODEL or "
        "qwen2.5-0.5b-instruct",
        &o->model,
        0,
        0};
    kl_options_add(table, &row, 1);
}

void kl_load_add_memory_option(struct kl_option_table *table, struct kl_load_options *o)
{
    const struct kl_option row = {
        "memory",
        0,
        KL_OPTION_BYTES,
        "SIZE",
        "never hold more memory than this (512M, 2G: MiB and GiB), mapped weights included; a "
        "start that needs more is refused; if not given, the limit of the control group "
        "(memory.max), where it has one",
        &o->memory,
        1,
        (double)((uint64_t)1 << 50)};
    kl_options_add(table, &row, 1);
}

void kl_load_add_draft_option(struct kl_option_table *table, struct kl_load_options *o)
{
    const struct kl_option row = {
        "draft-max",
        0,
        KL_OPTION_SIZE,
        "N",
        "guess up to this many tokens of an answer, from the conversation and from earlier "
        "answers, and compute them together; 0: none. No text depends on it",
        &o->draft_max,
        0,
        KL_DRAFT_MAX};
    kl_options_add(table, &row, 1);
}

void kl_load_add_template_option(struct kl_option_table *table, struct kl_load_options *o)
{
    const struct kl_option row = {
        "chat-template",
        0,
        KL_OPTION_STRING,
        "NAME",
        "how a conversation is written for the model: " KL_CHAT_TEMPLATE_NAMES
        "; if not given, the "
        "one that the template in the model file is known to be, or looks like",
        &o->chat_template,
        0,
        0};
    kl_options_add(table, &row, 1);
}

void kl_load_add_opening_options(struct kl_option_table *table, struct kl_load_options *o)
{
    const struct kl_option rows[] = {
        {"threads", 't', KL_OPTION_SIZE, "N",
         "number of threads that compute; if not given, the number that serve and chat measure at "
         "their first start, or one for every fast CPU that may be used",
         &o->threads, 1, KL_POOL_MAX_THREADS},
        {"threads-prefill", 0, KL_OPTION_SIZE, "N",
         "the same for prompts; if not given, as --threads", &o->threads_prefill, 1,
         KL_POOL_MAX_THREADS},
        {"ctx-size", 'c', KL_OPTION_SIZE, "N", "longest conversation, in tokens", &o->ctx_size, 16,
         KL_MAX_CTX_SIZE},
        {"kv-type", 0, KL_OPTION_STRING, "TYPE",
         "how the KV cache is stored: f16 (default), or int8, which takes half the memory (6.4 KB "
         "instead of 12 KB a token with the 0.5B models)",
         &o->kv_type, 0, 0},
        {"flash-attn", 0, KL_OPTION_STRING, "on|off",
         "off: attention computes all scores before the softmax, for comparisons", &o->flash_attn,
         0, 0},
        {"no-avx512", 0, KL_OPTION_FLAG, NULL, "choose kernels without 512-bit registers",
         &o->no_avx512, 0, 0},
        {"cpu", 0, KL_OPTION_STRING, "TIER",
         "kernels to use: " KL_TIER_NAMES ", or auto for the best that this CPU has; if not "
         "given, $KINGLET_CPU or auto",
         &o->cpu, 0, 0},
    };
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

void kl_load_add_options(struct kl_option_table *table, struct kl_load_options *o)
{
    kl_load_add_model_option(table, o);
    kl_load_add_template_option(table, o);
    kl_load_add_opening_options(table, o);
}

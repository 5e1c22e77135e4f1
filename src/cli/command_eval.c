/* kinglet eval: perplexity of a text, and logits of token sequences for comparisons. */
#include <stdio.h>

#include "bench/eval.h"
#include "cli/commands.h"
#include "console/options.h"
#include "load/load.h"

#define DEFAULT_WINDOW 512

struct eval_options {
    struct kl_load_options load;
    const char *ppl, *tokens, *logits;
    size_t chunk;
    bool together;
};

static enum kl_status check_options(const struct eval_options *o, struct kl_error *err)
{
    if (o->ppl != NULL && o->tokens == NULL && o->logits == NULL)
        return KL_OK;
    if (o->ppl == NULL && o->tokens != NULL && o->logits != NULL)
        return KL_OK;
    return kl_fail(err, KL_ERR_INVALID,
                   "give either --ppl FILE, or --tokens FILE and --logits OUT.npy");
}

static enum kl_status evaluate(const struct kl_loaded *loaded, const struct eval_options *o,
                               struct kl_error *err)
{
    struct kl_perplexity p;
    if (o->ppl == NULL)
        return kl_eval_logits(loaded, o->tokens, o->logits, o->chunk, o->together, err);
    enum kl_status status = kl_eval_perplexity(loaded, o->ppl, o->chunk, &p, err);
    if (status == KL_OK)
        printf("perplexity %.4f +/- %.4f (%zu tokens scored, %zu windows of %zu)\n", p.value,
               p.error, p.n_tokens, p.n_windows, p.window);
    return status;
}

static void add_options(struct kl_option_table *table, struct eval_options *o)
{
    const struct kl_option rows[] = {
        {"ppl", 0, KL_OPTION_STRING, "FILE",
         "compute the perplexity of this text, in windows of --ctx-size", &o->ppl, 0, 0},
        {"tokens", 0, KL_OPTION_STRING, "FILE", "read a sequence of token ids from each line",
         &o->tokens, 0, 0},
        {"logits", 0, KL_OPTION_STRING, "OUT.npy",
         "write the logits after each token of --tokens, float32 [tokens of all sequences in "
         "order, "
         "vocabulary]",
         &o->logits, 0, 0},
        {"chunk", 0, KL_OPTION_SIZE, "N", "rows of a batch", &o->chunk, 1, 4096},
        {"together", 0, KL_OPTION_FLAG, NULL,
         "mix all sequences of --tokens in each batch (the logits are the same)", &o->together, 0,
         0},
    };
    kl_load_add_options(table, &o->load);
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_eval(int argc, char **argv)
{
    struct eval_options o = {.load = {.ctx_size = DEFAULT_WINDOW}, .chunk = 64};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "eval",
        .about = "Evaluates the model: computes the perplexity of a text as llama.cpp's "
                 "llama-perplexity defines it, or the logits of given tokens.",
        .options = table.rows,
        .n_options = table.n,
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    struct kl_loaded loaded;
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (check_options(&o, &err) != KL_OK)
        return kl_report("eval", &err);
    if (kl_load(&loaded, &o.load, KL_LOAD_MODEL, &err) != KL_OK)
        return kl_load_report("eval", &err);
    enum kl_status status = evaluate(&loaded, &o, &err);
    kl_unload(&loaded);
    return status == KL_OK ? KL_EXIT_OK : kl_report("eval", &err);
}

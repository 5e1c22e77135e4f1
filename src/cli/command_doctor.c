/* kinglet doctor: finds problems of this computer, this model, or a server, and how to fix them. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/serving.h"
#include "console/key_file.h"
#include "console/options.h"
#include "doctor/doctor.h"
#include "load/prefixes.h"

#define REPORT_CAP ((size_t)1 << 20)

struct doctor_options {
    struct kl_load_options load;
    const char *url, *key_file;
    size_t pid, timeout;
    bool json, measure;
};

static struct kl_findings findings; /* 100 KB */

static int report(bool json)
{
    static const int codes[] = {KL_EXIT_OK, KL_EXIT_OK, KL_EXIT_WARNINGS, KL_EXIT_BROKEN};
    struct kl_printer out;
    struct kl_error err = {0};
    kl_printer_init(&out, REPORT_CAP);
    if (json)
        kl_findings_json(&findings, &out);
    else
        kl_findings_text(&findings, &out);
    enum kl_status status = kl_printer_write(&out, stdout, "the report", &err);
    kl_printer_release(&out);
    return status == KL_OK ? codes[kl_findings_worst(&findings)] : kl_report("doctor", &err);
}

/* Opens an engine, which allocates no KV cache, and closes it: the plan is then complete. */
static enum kl_status plan_serving(const struct kl_loaded *loaded, size_t ctx_size, size_t parallel,
                                   struct kl_plan *plan, struct kl_error *err)
{
    const struct kl_serving serving = {.budget = plan->budget,
                                       .engine = {.parallel = parallel,
                                                  .queue = KL_SERVING_QUEUE,
                                                  .draft_max = KL_DEFAULT_DRAFT_MAX,
                                                  .cache_ram = KL_DEFAULT_CACHE_RAM}};
    const struct kl_engine_choice choice = kl_serving_engine(&serving);
    struct kl_engine *engine;
    kl_plan_page_store(loaded, KL_DEFAULT_CACHE_DISK, plan);
    kl_serving_plan(&serving, plan);
    kl_serving_plan_rules(&serving, loaded->tokenizer, plan);
    struct kl_engine_options options = kl_load_engine_options(loaded, &choice, plan);
    options.ctx_size = ctx_size;
    enum kl_status status =
        kl_engine_open(loaded->model, loaded->tokenizer, &options, &engine, err);
    kl_engine_close(engine);
    return status;
}

static void examine_this_computer(const struct doctor_options *o)
{
    const struct kl_doctor_serving serving = {.parallel = KL_SERVING_SLOTS, .plan = plan_serving};
    kl_doctor_tier(&findings, &o->load);
    kl_doctor_cpu(&findings, "");
    kl_doctor_memory(&findings, "");
    kl_doctor_model(&findings, &o->load, &serving, o->measure);
    kl_doctor_cache(&findings);
}

static void add_options(struct kl_option_table *table, struct doctor_options *o)
{
    const struct kl_option rows[] = {
        {"measure", 0, KL_OPTION_FLAG, NULL,
         "open and measure the model even if it was not used on this computer yet; its weights are "
         "packed for that, as at the first start",
         &o->measure, 0, 0},
        {"url", 0, KL_OPTION_STRING, "URL",
         "examine this server (any with OpenAI's API) instead of this computer; a URL with a query "
         "is requested as it is, and may answer with events of any kind",
         &o->url, 0, 0},
        {"api-key-file", 0, KL_OPTION_STRING, "FILE", "with --url: send the first key in this file",
         &o->key_file, 0, 0},
        {"timeout", 0, KL_OPTION_SIZE, "SECONDS", "with --url: longest time for an answer",
         &o->timeout, 1, 3600},
        {"pid", 0, KL_OPTION_SIZE, "PID",
         "examine this running process, of any program: its threads, memory and log", &o->pid, 1,
         INT_MAX},
        {"json", 0, KL_OPTION_FLAG, NULL, "print one JSON object", &o->json, 0, 0},
    };
    kl_load_add_options(table, &o->load);
    kl_load_add_memory_option(table, &o->load);
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_doctor(int argc, char **argv)
{
    struct doctor_options o = {.load = {.ctx_size = KL_SERVING_CTX}, .timeout = 300};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "doctor",
        .about = "Finds what makes kinglet slow or wrong on this computer: processor, memory, "
                 "disk, the model file, start, tokenizer, speed, numbers; or, with --url, whether "
                 "a server streams, refuses and stops as it should; or, with --pid, what the "
                 "threads of a running process do. Each finding says what was measured, what it "
                 "costs and how to fix it. A model that was used here before is measured, which "
                 "takes half a minute. Of a new one it tells within seconds whether it runs, "
                 "whether it fits into the memory, and which speed to expect.",
        .options = table.rows,
        .n_options = table.n,
        .exit_codes = "0 all is good, 1 something should be fixed, 2 wrong usage",
        .further_exit_codes = "5 something is broken",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "error", &n, &code))
        return code;
    struct kl_buffer key_text;
    const char *key;
    kl_buffer_init(&key_text, KL_KEY_FILE_CAP);
    if (o.load.model != NULL && (o.url != NULL || o.pid != 0)) {
        kl_fail(&err, KL_ERR_INVALID,
                "--model is a file of this computer, and %s something else: "
                "give one of them",
                o.url != NULL ? "--url" : "--pid");
        code = kl_report("doctor", &err);
    } else if (kl_read_key(o.key_file, &key_text, &key, &err) != KL_OK) {
        code = kl_report("doctor", &err);
    } else {
        if (o.url != NULL)
            kl_doctor_stream(&findings, o.url, key, o.timeout);
        if (o.pid != 0)
            kl_doctor_process(&findings, (int)o.pid,
                              o.url != NULL && kl_server_is_idle(o.url, key, o.timeout));
        if (o.pid == 0 && o.url == NULL)
            examine_this_computer(&o);
        code = report(o.json);
    }
    kl_buffer_release(&key_text);
    return code;
}

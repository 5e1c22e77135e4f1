/* kinglet doctor: finds problems of this computer, this model, or a server, and how to fix them. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "console/key_file.h"
#include "console/options.h"
#include "doctor/doctor.h"

#define REPORT_CAP ((size_t)1 << 20)

struct doctor_options {
    struct kl_load_options load;
    const char *url, *key_file;
    size_t pid, timeout;
    bool json;
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

static void examine_this_computer(const struct kl_load_options *load)
{
    kl_doctor_tier(&findings, load);
    kl_doctor_cpu(&findings, "");
    kl_doctor_memory(&findings, "");
    kl_doctor_model(&findings, load);
    kl_doctor_cache(&findings);
}

static void add_options(struct kl_option_table *table, struct doctor_options *o)
{
    const struct kl_option rows[] = {
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
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_doctor(int argc, char **argv)
{
    struct doctor_options o = {.load = {.ctx_size = 4096}, .timeout = 300};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "doctor",
        .about = "Finds what makes kinglet slow or wrong on this computer: processor, memory, "
                 "disk, start, tokenizer, speed, numbers; or, with --url, whether a server "
                 "streams, refuses and stops as it should; or, with --pid, what the threads of a "
                 "running process do. Each finding says what was measured, what it costs and how "
                 "to fix it. Takes half a minute.",
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
    if (kl_read_key(o.key_file, &key_text, &key, &err) != KL_OK) {
        code = kl_report("doctor", &err);
    } else {
        if (o.url != NULL)
            kl_doctor_stream(&findings, o.url, key, o.timeout);
        if (o.pid != 0)
            kl_doctor_process(&findings, (int)o.pid,
                              o.url != NULL && kl_server_is_idle(o.url, key, o.timeout));
        if (o.pid == 0 && o.url == NULL)
            examine_this_computer(&o.load);
        code = report(o.json);
    }
    kl_buffer_release(&key_text);
    return code;
}

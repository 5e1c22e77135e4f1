/* The options of `kinglet bench --soak`. */
#include <stdlib.h>
#include <string.h>

#include "bench/bench_soak.h"

#define LONGEST_DAYS 366

void kl_soak_add_options(struct kl_option_table *table, struct kl_soak_options *o)
{
    const struct kl_option rows[] = {
        {"soak", 0, KL_OPTION_STRING, "TIME",
         "a different measurement: for TIME (90s, 10m, 72h) simulated users ask a server "
         "questions, "
         "one that is started for this unless --url is given; what follows -- is passed to that "
         "serve. --generate is then the longest answer (default 128). Ctrl-C ends it with a report",
         &o->time, 0, 0},
        {"rounds", 0, KL_OPTION_SIZE, "N", "soak: stop after N rounds of all questions", &o->rounds,
         1, 1000000},
        {"people", 0, KL_OPTION_SIZE, "N",
         "soak: number of concurrent users; each has one request at a time", &o->users, 1,
         KL_SOAK_MAX_USERS},
        {"url", 0, KL_OPTION_STRING, "URL", "soak: any server that speaks OpenAI's API", &o->url, 0,
         0},
        {"api-key-file", 0, KL_OPTION_STRING, "FILE", "soak: send the first key in it",
         &o->key_file, 0, 0},
        {"model-name", 0, KL_OPTION_STRING, "NAME",
         "soak: the model to ask for; if not given, the first one that the server lists",
         &o->model_name, 0, 0},
        {"pid", 0, KL_OPTION_SIZE, "PID", "soak: the process behind --url, to report its memory",
         &o->pid, 1, 4194304},
        {"prompts", 0, KL_OPTION_STRING, "DIR",
         "soak: ask the questions in the *.txt files of a directory, one a line", &o->prompts, 0,
         0},
        {"timeout", 0, KL_OPTION_SIZE, "SECONDS",
         "soak: a request has failed when nothing arrives for this time, or when it is not "
         "complete three times this time after the end of the run",
         &o->timeout, 1, 86400},
    };
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

enum kl_status kl_soak_check_options(const struct kl_soak_options *soak, size_t n_arguments,
                                     struct kl_error *err)
{
    const char *only = soak->url != NULL          ? "--url"
                       : soak->prompts != NULL    ? "--prompts"
                       : soak->key_file != NULL   ? "--api-key-file"
                       : soak->model_name != NULL ? "--model-name"
                       : soak->rounds > 0         ? "--rounds"
                       : soak->pid > 0            ? "--pid"
                       : n_arguments > 0          ? "arguments for serve (after --)"
                                                  : NULL;
    if (soak->time == NULL && only != NULL)
        return kl_fail(err, KL_ERR_INVALID, "%s: only with --soak TIME", only);
    if (soak->url != NULL && n_arguments > 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "arguments for serve (after --) cannot be combined with --url: that server "
                       "runs already");
    return KL_OK;
}

enum kl_status kl_soak_parse_time(const char *text, double *seconds, struct kl_error *err)
{
    static const struct {
        char unit;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    size_t digits = strspn(text, "0123456789");
    double n = strtod(text, NULL);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        *seconds = n * units[i].seconds;
        if (digits > 0 && text[digits] == units[i].unit && text[digits + 1] == '\0' &&
            *seconds > 0 && *seconds <= LONGEST_DAYS * 86400.0)
            return KL_OK;
    }
    return kl_fail(err, KL_ERR_INVALID,
                   "--soak takes a time such as 90s, 10m, 72h or 3d, at most %dd, not \"%s\"",
                   LONGEST_DAYS, text);
}

#include "bench/bench_soak.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/foreign_text.h"
#include "base/thread.h"
#include "bench/server_query.h"
#include "client/api_reader.h"
#include "console/interrupt.h"
#include "console/key_file.h"
#include "console/terminal.h"

#define OUTPUT_CAP       ((size_t)16 << 20)
#define WAIT_MS          200 /* the longest time until Ctrl-C is noticed */
#define READING_SECONDS  1.0
#define TERMINAL_SECONDS 5.0 /* from one line of progress to the next */
#define LOG_SECONDS      60.0
#define STALL_SECONDS    10

/* ---- readings and progress ------------------------------------------------------------------- */

static void ask_memory(const struct kl_soak *s, struct kl_soak_reading *reading)
{
    struct kl_error err;
    struct kl_http_answer answer;
    const struct kl_http_request limits = {.key = s->key,
                                           .stall_seconds = STALL_SECONDS,
                                           .max_seconds = STALL_SECONDS,
                                           .stop = &s->stop};
    if (kl_server_get(s->base, "/health", limits, &answer, &err) == KL_OK && answer.body.len > 0)
        kl_read_resident(answer.body.data, answer.body.len, &reading->resident);
    kl_http_release(&answer);
}

static void take_reading(struct kl_soak *s, struct kl_soak_machine *machine)
{
    struct kl_soak_reading reading = {0};
    pid_t pid = s->server.pid > 0 ? s->server.pid : (pid_t)s->options->pid;
    if (pid > 0)
        kl_soak_read_process("", pid, &reading);
    else
        ask_memory(s, &reading);
    kl_soak_read_machine(machine, &reading);
    pthread_mutex_lock(&s->lock);
    kl_soak_point_reading(kl_soak_series_at(&s->series, kl_seconds_since(s->start)), &reading);
    if (reading.resident > 0 || s->last.resident <= 0) /* a server that has ended reports none */
        s->last = reading;
    s->peak = reading.peak > s->peak ? reading.peak : s->peak;
    s->peak = reading.resident > s->peak ? reading.resident : s->peak;
    s->hottest = reading.celsius > s->hottest ? reading.celsius : s->hottest;
    s->readings++;
    s->throttled += reading.throttled;
    pthread_mutex_unlock(&s->lock);
}

static void show_progress(struct kl_soak *s)
{
    char lasted[32], bytes[32];
    pthread_mutex_lock(&s->lock);
    const struct kl_soak_sums *all = &s->all;
    fprintf(stderr,
            "%s  %llu answered, %llu failed; latency p50 %.2f s, p99 %.2f s; first text p50 "
            "%.0f ms; %.1f tokens/s",
            kl_format_duration(kl_seconds_since(s->start), lasted, sizeof lasted),
            (unsigned long long)all->outcomes[KL_SOAK_ANSWERED],
            (unsigned long long)kl_soak_failed(all), kl_soak_quantile(&all->latency, 0.5),
            kl_soak_quantile(&all->latency, 0.99), 1e3 * kl_soak_quantile(&all->first, 0.5),
            kl_soak_writing_speed(all));
    if (s->last.resident > 0)
        fprintf(stderr, "; %s", kl_format_bytes(s->last.resident, bytes, sizeof bytes));
    if (s->last.celsius > 0)
        fprintf(stderr, "; %.0f degrees", s->last.celsius);
    fputs("\n", stderr);
    pthread_mutex_unlock(&s->lock);
}

/* Watches until the last user has ended. Errors are those of the started server. */
static enum kl_status watch(struct kl_soak *s, struct kl_soak_machine *machine,
                            struct kl_error *err)
{
    enum kl_status status = KL_OK;
    struct pollfd wait = {.fd = s->over, .events = POLLIN};
    uint64_t read = s->start, shown = s->start;
    double every = isatty(STDERR_FILENO) ? TERMINAL_SECONDS : LOG_SECONDS;
    while (poll(&wait, 1, WAIT_MS) != 1) {
        if (kl_interrupt_pending())
            s->interrupted = true;
        if (status == KL_OK && s->server.pid > 0)
            status = kl_soak_server_check(&s->server, err);
        if (s->interrupted || status != KL_OK)
            atomic_store(&s->stop, true);
        if (status == KL_OK && kl_seconds_since(read) >= READING_SECONDS) {
            read = kl_now_ns();
            take_reading(s, machine);
        }
        if (kl_seconds_since(shown) >= every) {
            shown = kl_now_ns();
            show_progress(s);
        }
    }
    return status;
}

/* ---- the run --------------------------------------------------------------------------------- */

static enum kl_status run_users(struct kl_soak *s, struct kl_error *err)
{
    pthread_t users[KL_SOAK_MAX_USERS];
    struct kl_soak_machine machine = {.root = "", .throttle_count = -1};
    enum kl_status status = KL_OK;
    size_t n = s->options->users, started = 0;
    s->over = eventfd(0, EFD_CLOEXEC);
    if (s->over < 0)
        return kl_fail_errno(err, "no eventfd");
    s->start = kl_now_ns();
    take_reading(s, &machine);
    atomic_store(&s->working, n);
    while (started < n && status == KL_OK) {
        errno = kl_thread_start(&users[started], kl_soak_user, s);
        if (errno != 0)
            status = kl_fail_errno(err, "the thread of one of %zu users cannot be started", n);
        else
            started++;
    }
    if (status == KL_OK)
        status = watch(s, &machine, err);
    atomic_store(&s->stop, status != KL_OK);
    for (size_t i = 0; i < started; i++)
        pthread_join(users[i], NULL);
    s->lasted = kl_seconds_since(s->start);
    if (status == KL_OK)
        take_reading(s, &machine);
    close(s->over);
    return status;
}

/* Finds the name of the model; this also checks that the server answers. */
static enum kl_status find_model(struct kl_soak *s, struct kl_error *err)
{
    struct kl_http_answer answer;
    if (s->options->model_name != NULL) {
        snprintf(s->model, sizeof s->model, "%s", s->options->model_name);
        return KL_OK;
    }
    const struct kl_http_request limits = {
        .key = s->key, .stall_seconds = STALL_SECONDS, .max_seconds = STALL_SECONDS};
    enum kl_status status = kl_server_get(s->base, "/v1/models", limits, &answer, err);
    if (status == KL_OK && answer.status != 200)
        status = kl_fail(
            err, KL_ERR_IO, "%s/v1/models: expected status 200, found %d%s", s->base, answer.status,
            answer.status == 401 || answer.status == 403 ? "; give a key: --api-key-file FILE"
                                                         : "");
    else if (status == KL_OK &&
             (answer.body.len == 0 ||
              !kl_read_model_id(answer.body.data, answer.body.len, s->model, sizeof s->model)))
        status = kl_fail(
            err, KL_ERR_IO,
            "%s/v1/models: expected a list of models, found none; name one: --model-name NAME",
            s->base);
    kl_foreign_clean(s->model); /* it will be printed */
    kl_http_release(&answer);
    return status;
}

static enum kl_status print(const struct kl_soak *s, struct kl_error *err)
{
    struct kl_printer out;
    kl_printer_init(&out, OUTPUT_CAP);
    if (s->options->json)
        kl_soak_json(s, &out);
    else
        kl_soak_text(s, &out);
    enum kl_status status = kl_printer_write(&out, stdout, "the report", err);
    kl_printer_release(&out);
    return status;
}

/* Everything between preparing and releasing. Prints the report even if the run fails. */
static enum kl_status soak(struct kl_soak *s, struct kl_error *err)
{
    const struct kl_soak_options *o = s->options;
    struct kl_error later = {0};
    enum kl_status status = KL_OK;
    if (o->url == NULL)
        status = kl_soak_server_start(o, &s->server, err);
    kl_http_base(o->url != NULL ? o->url : s->server.url, s->base, sizeof s->base);
    if (status == KL_OK)
        status = find_model(s, err);
    if (status == KL_OK) {
        status = run_users(s, err);
        enum kl_status stopped = kl_soak_server_stop(&s->server, &later);
        if (stopped == KL_OK)
            stopped = print(s, &later);
        if (stopped == KL_OK && o->report != NULL)
            stopped = kl_soak_write_page(s, &later);
        if (status == KL_OK && stopped != KL_OK) {
            status = stopped;
            *err = later;
        }
    }
    kl_soak_server_stop(&s->server, &later);
    return status;
}

static enum kl_status prepare(struct kl_soak *s, struct kl_buffer *key_text, struct kl_error *err)
{
    const struct kl_soak_options *o = s->options;
    kl_bench_date(s->date);
    kl_bench_describe(&s->machine);
    pthread_mutex_init(&s->lock, NULL);
    kl_soak_sums_init(&s->all);
    for (size_t k = 0; k < KL_SOAK_KINDS; k++)
        kl_soak_sums_init(&s->kinds[k]);
    kl_soak_series_init(&s->series);
    enum kl_status status = kl_soak_parse_time(o->time, &s->seconds, err);
    if (status == KL_OK && o->pid > 0 && kill((pid_t)o->pid, 0) != 0 && errno == ESRCH)
        status = kl_fail(err, KL_ERR_INVALID, "--pid %zu: there is no such process", o->pid);
    if (status == KL_OK)
        status = kl_read_key(o->key_file, key_text, &s->key, err);
    if (status == KL_OK)
        status = kl_soak_prompts_read(o->prompts, &s->prompts, err);
    return status;
}

enum kl_status kl_bench_soak(const struct kl_soak_options *options, const char *command,
                             bool *all_answered, struct kl_error *err)
{
    static struct kl_soak s; /* 200 KB of histograms */
    struct kl_buffer key_text;
    s = (struct kl_soak){.options = options, .command = command};
    kl_buffer_init(&key_text, KL_KEY_FILE_CAP);
    enum kl_status status = prepare(&s, &key_text, err);
    kl_interrupt_block();
    if (status == KL_OK)
        status = soak(&s, err);
    kl_soak_prompts_release(&s.prompts);
    kl_buffer_release(&key_text);
    pthread_mutex_destroy(&s.lock);
    if (status == KL_OK && s.interrupted)
        fputs("kinglet bench: stopped before its time\n", stderr);
    *all_answered = s.all.requests > 0 && kl_soak_failed(&s.all) == 0;
    return status;
}

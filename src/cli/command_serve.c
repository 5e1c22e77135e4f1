/* kinglet serve: the chat page and the HTTP API. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "cli/commands.h"
#include "cli/serve_models.h"
#include "cli/serving.h"
#include "console/key_file.h"
#include "console/options.h"
#include "console/page_address.h"
#include "console/terminal.h"
#include "fetch/catalogue_source.h"
#include "load/aliases.h"
#include "load/prefixes.h"
#include "model/plan.h"
#include "server/server.h"

#define MAX_SECONDS     86400
#define DEFAULT_WAIT    120 /* seconds: as long as a client of the OpenAI SDKs would pause */
#define NO_SEED         UINT64_MAX
#define DEFAULT_SECONDS 600 /* as long as the OpenAI SDKs wait for an answer */

struct serve_options {
    struct kl_load_options load;
    const char *host;
    size_t port, parallel, queue, max_wait, max_tokens, max_seconds;
    size_t max_connections, max_per_address;
    size_t header_seconds, body_seconds, idle_seconds, reader_seconds, drain_seconds;
    enum kl_context_policy context_policy;
    const char *policy_name, *pooling_name;
    enum kl_pooling pooling; /* from pooling_name, unless that is NULL */
    const char *late_lines;
    bool loop_guard, strict_model;
    uint64_t seed; /* NO_SEED: none */
    const char *api_key_file, *log_format;
    uint64_t cache_ram, cache_disk, history_bytes, pull_bytes;
    const char *history_dir;
    const char *warm_file;
    const struct kl_precompute_texts *warm_texts; /* from warm_file */
    bool no_auth, offline, allow_pull;
    struct kl_string_list models, chat_templates;
    const char *models_dir;
    size_t keep_alive; /* seconds */
    struct kl_string_list also_listen, allowed_hosts, allowed_origins, alias_words;
    struct kl_aliases aliases; /* from alias_words */
};

/* SIGHUP means one of two things: the terminal was closed, or the settings that can change without
 * a restart should be read again. */
struct reloadable {
    struct kl_server *server;
    const char *api_key_file;
    bool of_terminal; /* started from a terminal, and not under nohup */
};

static void reload(void *context)
{
    const struct reloadable *r = context;
    struct kl_error err = {0};
    struct kl_api_keys keys = {0};
    if (r->of_terminal && isatty(STDERR_FILENO) == 0) {
        kl_info("SIGHUP: the terminal was closed; new requests are refused");
        kl_server_stop(r->server);
        return;
    }
    /* a setting that cannot be read stays unchanged */
    enum kl_status status = kl_log_level_reload(&err);
    if (status == KL_OK && r->api_key_file != NULL) {
        status = kl_api_keys_read(r->api_key_file, &keys, &err);
        if (status == KL_OK)
            status = kl_server_set_keys(r->server, keys.keys, keys.n, &err);
        kl_api_keys_release(&keys);
    }
    if (status == KL_OK)
        kl_info("SIGHUP: read again: the log level, %zu API keys", keys.n);
    else
        kl_err("SIGHUP: %s; the settings are unchanged", err.text);
}

/* ---- the thread that loads ------------------------------------------------------------------- */

struct loading {
    const struct serve_options *options;
    struct kl_server *server;
    uint64_t start;
    pthread_t thread;
    _Atomic(bool) over; /* loading is over: joining the thread does not block for long */
    enum kl_status status;
    struct kl_error err;
    _Atomic(bool) leaving;
    struct kl_serve_models models;
};

static struct kl_serving serving_of(const struct serve_options *o)
{
    return (struct kl_serving){.budget = kl_load_budget(&o->load),
                               .engine = {.parallel = o->parallel,
                                          .queue = o->queue,
                                          .draft_max = o->load.draft_max,
                                          .cache_ram = o->cache_ram},
                               .max_connections = o->max_connections,
                               .late_lines = o->late_lines != NULL,
                               .history = o->history_dir != NULL};
}

/* Plans what the server takes, whatever it serves. */
static void plan_program(const void *context, struct kl_plan *plan)
{
    const struct kl_serving serving = serving_of(context);
    kl_serving_plan(&serving, plan);
}

static enum kl_status find_models(const struct serve_options *o, struct kl_serve_models *models,
                                  struct kl_error *err)
{
    const struct kl_serving serving = serving_of(o);
    const struct kl_model_set_options options = {.load = o->load,
                                                 .chat_templates = o->chat_templates,
                                                 .engine = kl_serving_engine(&serving),
                                                 .cache_disk = o->cache_disk};
    models->aliases = &o->aliases;
    models->warm_texts = o->warm_texts;
    models->rule_bytes = kl_server_rule_bytes_for(serving.budget).compiled;
    models->plan_program = plan_program;
    models->plan_context = o;
    return kl_model_set_find(&models->set, &options, &o->models, o->models_dir, err);
}

static void *load_main(void *argument)
{
    struct loading *l = argument;
    l->status = kl_serve_models_load(&l->models, l->server, &l->err);
    atomic_store(&l->over, true); /* before the server is notified and perhaps ends */
    if (l->status == KL_OK) {
        kl_server_ready(l->server, l->models.served, l->models.set.n);
        kl_model_set_digests(&l->models.set, &l->leaving);
    } else {
        kl_server_failed(l->server, &l->err);
    }
    return NULL;
}

static enum kl_status start_loading(struct loading *l, struct kl_error *err)
{
    errno = kl_thread_start(&l->thread, load_main, l);
    return errno == 0 ? KL_OK
                      : kl_fail_errno(err, "the thread that loads the model could not be started");
}

static enum kl_status start_log(const char *format, struct kl_error *err)
{
    enum kl_log_format parsed;
    if (!kl_log_parse_format(format, &parsed))
        return kl_fail(err, KL_ERR_INVALID, "--log-format takes text or json, not \"%s\"", format);
    kl_log_set_format(parsed);
    return kl_log_start(err);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Exits while another thread runs: handlers of libraries would free what it uses (OpenSSL's). */
static _Noreturn void leave_now(int code)
{
    kl_log_stop();
    fflush(NULL);
    _exit(code);
}

/* Exits without waiting for a download or the packing of weights. Both may be interrupted anywhere;
 * the next start continues them or begins again. */
static _Noreturn void leave_loading(enum kl_status status, const struct kl_error *err)
{
    int code = KL_EXIT_OK;
    if (status != KL_OK)
        code = kl_report("serve", err);
    else
        kl_info("stopped while the model was being loaded");
    leave_now(code);
}

static int stopped(bool downloads)
{
    kl_info("stopped");
    if (downloads)
        leave_now(KL_EXIT_OK);
    return KL_EXIT_OK;
}

/* Serves until the server is stopped. */
static int run_server(struct loading *l, struct kl_error *err)
{
    enum kl_status status = start_loading(l, err);
    if (status == KL_OK) {
        status = kl_server_run(l->server, err);
        atomic_store(&l->leaving, true);
        if (!atomic_load(&l->over)) {
            pthread_detach(l->thread);
            leave_loading(status, err);
        }
        pthread_join(l->thread, NULL);
    }
    bool downloads = kl_server_downloads(l->server);
    kl_server_close(l->server);
    kl_serve_models_release(&l->models);
    if (l->status != KL_OK)
        return kl_load_report("serve", &l->err);
    return status == KL_OK ? stopped(downloads) : kl_report("serve", err);
}

static void log_start(const struct loading *l)
{
    const struct kl_string_list *also = &l->options->also_listen;
    kl_info("listening on %s (%.2f s after the start); Ctrl-C stops", kl_server_url(l->server),
            kl_seconds_since(l->start));
    for (size_t i = 0; i < also->len; i++)
        kl_info("also listening on %s", also->values[i]);
    if (getenv("container") != NULL && kl_server_is_local(l->server))
        kl_info("this is a container, and that address cannot be reached from outside: to publish "
                "the port, give serve --host 0.0.0.0 and --api-key-file FILE, or --no-auth if "
                "every client that reaches the port may use it");
}

/* Opens the server for the models that were found, and runs it. */
static int serve_models(struct loading *l, const struct kl_api_keys *keys, struct kl_error *err)
{
    const struct serve_options *o = l->options;
    const struct kl_model_opener opener = kl_serve_models_opener(&l->models);
    const struct kl_serving serving = serving_of(o);
    struct reloadable reloadable = {.api_key_file = o->api_key_file,
                                    .of_terminal = kl_is_of_terminal()};
    const struct kl_server_options options = {
        .http = {.host = o->host,
                 .port = (uint16_t)o->port,
                 .also_listen = o->also_listen.values,
                 .n_also_listen = o->also_listen.len,
                 .api_keys = keys->keys,
                 .n_api_keys = keys->n,
                 .no_auth = o->no_auth,
                 .allowed_hosts = o->allowed_hosts.values,
                 .n_allowed_hosts = o->allowed_hosts.len,
                 .allowed_origins = o->allowed_origins.values,
                 .n_allowed_origins = o->allowed_origins.len,
                 .held_bytes = kl_server_held_bytes_for(kl_load_budget(&o->load)),
                 .max_connections = kl_serving_connections(&serving),
                 .max_connections_per_address = o->max_per_address,
                 .header_seconds = (unsigned)o->header_seconds,
                 .body_seconds = (unsigned)o->body_seconds,
                 .idle_seconds = (unsigned)o->idle_seconds,
                 .reader_seconds = (unsigned)o->reader_seconds},
        .service = {.n_models = l->models.set.n,
                    .opener = &opener,
                    .keep_alive_seconds = (double)o->keep_alive,
                    .max_waiting = o->parallel + o->queue,
                    .max_wait_seconds = (double)o->max_wait,
                    .max_tokens = o->max_tokens,
                    .max_seconds = (double)o->max_seconds,
                    .context_policy = o->context_policy,
                    .pooling = o->pooling,
                    .has_pooling = o->pooling_name != NULL,
                    .late_lines = o->late_lines,
                    .strict_model = o->strict_model,
                    .model_source = &kl_catalogue_source,
                    .allow_pull = o->allow_pull,
                    .pull_bytes = o->pull_bytes,
                    .answer_bytes = kl_server_answer_bytes_for(kl_load_budget(&o->load)),
                    .history_dir = o->history_dir,
                    .history_bytes = o->history_bytes,
                    .loop_guard = o->loop_guard,
                    .has_seed = o->seed != NO_SEED,
                    .seed = o->seed,
                    .drain_seconds = (unsigned)o->drain_seconds},
        .memory_budget = o->load.memory,
        .reload = reload,
        .reload_context = &reloadable,
    };
    kl_info("kinglet %s starts", KL_VERSION);
    if (kl_server_open(&options, &l->server, err) != KL_OK) {
        kl_serve_models_release(&l->models);
        return kl_report("serve", err);
    }
    log_start(l);
    reloadable.server = l->server;
    return run_server(l, err);
}

static int serve(const struct serve_options *o, const struct kl_api_keys *keys,
                 struct kl_error *err)
{
    struct loading *l = calloc(1, sizeof *l);
    int code;
    if (l == NULL) {
        kl_fail_memory(err, "the table of models", sizeof *l);
        return kl_report("serve", err);
    }
    l->options = o;
    l->start = kl_now_ns();
    if (find_models(o, &l->models, err) != KL_OK) {
        kl_serve_models_release(&l->models);
        code = kl_load_report("serve", err);
    } else {
        code = serve_models(l, keys, err);
    }
    free(l);
    return code;
}

/* Checks the values of the options, reads their files, and serves. */
static int run(struct serve_options *o)
{
    struct kl_error err = {0};
    struct kl_api_keys keys = {0};
    int code;
    if (!kl_server_parse_context_policy(o->policy_name, &o->context_policy)) {
        kl_fail(&err, KL_ERR_INVALID, "--context-policy: expected error or trim, found \"%s\"",
                o->policy_name);
        return kl_report("serve", &err);
    }
    if (o->pooling_name != NULL && !kl_pooling_find(o->pooling_name, &o->pooling)) {
        kl_fail(&err, KL_ERR_INVALID, "--pooling: expected last, mean or cls, found \"%s\"",
                o->pooling_name);
        return kl_report("serve", &err);
    }
    if (kl_aliases_read(&o->alias_words, &o->aliases, &err) != KL_OK)
        return kl_report("serve", &err);
    o->load.pull = !o->offline;
    o->load.measure_threads = true;
    struct kl_precompute_texts texts = {0};
    enum kl_status status = start_log(o->log_format, &err);
    if (status == KL_OK)
        status = kl_precompute_texts_read(o->warm_file, &texts, &err);
    if (status == KL_OK)
        status = kl_api_keys_read(o->api_key_file, &keys, &err);
    o->warm_texts = &texts;
    code = status == KL_OK ? serve(o, &keys, &err) : kl_report("serve", &err);
    kl_log_stop();
    kl_api_keys_release(&keys);
    kl_precompute_texts_release(&texts);
    return code;
}

/* How requests are answered. */
static void add_answer_options(struct kl_option_table *table, struct serve_options *o)
{
    const struct kl_option rows[] = {
        {"offline", 0, KL_OPTION_FLAG, NULL,
         "do not download the model if it is not on this computer", &o->offline, 0, 0},
        {"host", 0, KL_OPTION_STRING, "ADDRESS",
         "address to listen on; any that other computers can reach needs --api-key-file or "
         "--no-auth",
         &o->host, 0, 0},
        {"port", 'p', KL_OPTION_SIZE, "N", "port to listen on; 0: any free one", &o->port, 0,
         65535},
        {"also-listen", 0, KL_OPTION_STRINGS, "ADDRESS:PORT",
         "a further address, with the rules of --host (\"127.0.0.1:11434\": Ollama's); up to three",
         &o->also_listen, 0, 0},
        {"parallel", 0, KL_OPTION_SIZE, "N",
         "number of slots: answers that are generated at the same time", &o->parallel, 1, 64},
        {"queue", 0, KL_OPTION_SIZE, "N",
         "requests that may wait for a slot; further ones are refused (429)", &o->queue, 0, 10000},
        {"max-wait", 0, KL_OPTION_SIZE, "SECONDS",
         "refuse a request that would wait longer (429); 0: refuse none", &o->max_wait, 0, 86400},
        {"max-tokens", 0, KL_OPTION_SIZE, "N",
         "longest answer, in tokens; 0: the length that a request asks for", &o->max_tokens, 0,
         1 << 20},
        {"max-seconds", 0, KL_OPTION_SIZE, "SECONDS",
         "longest time for a request, including its wait; 0: no limit", &o->max_seconds, 0, 86400},
        {"context-policy", 0, KL_OPTION_STRING, "error|trim",
         "if a conversation is longer than the context: refuse it (400), or leave its oldest turns "
         "out",
         &o->policy_name, 0, 0},
        {"pooling", 0, KL_OPTION_STRING, "last|mean|cls",
         "which hidden vectors of a text make its embedding: that of the last token, their mean, "
         "or that of the first; if not given, as the model file says, or last",
         &o->pooling_name, 0, 0},
        {"loop-guard", 0, KL_OPTION_SWITCH, "on|off",
         "end answers that only repeat themselves, unless a request says otherwise", &o->loop_guard,
         0, 0},
        {"seed", 0, KL_OPTION_U64, "N",
         "the seed of requests that give none (default: another one for each)", &o->seed, 0, 0},
        {"late-lines", 0, KL_OPTION_STRING, "REGEX",
         "move lines of system messages that change, like the time (\"^Time: \", POSIX extended), "
         "behind all that the cache can keep; home-assistant: the lines that it writes",
         &o->late_lines, 0, 0},
        {"cache-ram", 0, KL_OPTION_BYTES, "SIZE",
         "keep computed prompts of each model in this much memory (default 64M); 0: keep none",
         &o->cache_ram, 0, (double)((uint64_t)1 << 40)},
        {"cache-disk", 0, KL_OPTION_BYTES, "SIZE",
         "and those of all models in this much of the cache directory, where the next start finds "
         "them (default 256M); "
         "0: not on disk",
         &o->cache_disk, 0, (double)((uint64_t)1 << 50)},
        {"history", 0, KL_OPTION_STRING, "DIR",
         "keep chats in this directory, for each API key its own, so that the page has them on all "
         "devices; on an address that others reach only with --api-key-file",
         &o->history_dir, 0, 0},
        {"history-size", 0, KL_OPTION_BYTES, "SIZE",
         "at most this much of the disk for --history (default 256M), a quarter of it for each "
         "API key",
         &o->history_bytes, 1 << 20, (double)((uint64_t)1 << 50)},
        {"warm", 0, KL_OPTION_STRING, "FILE",
         "first messages of conversations, one a line, to precompute while a model is idle; "
         "some greetings are precomputed without it",
         &o->warm_file, 0, 0},
    };
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

/* The log, API keys and names. */
static void add_access_options(struct kl_option_table *table, struct serve_options *o)
{
    const struct kl_option rows[] = {
        {"log-format", 0, KL_OPTION_STRING, "FORMAT", "text, or json (one object a line)",
         &o->log_format, 0, 0},
        {"api-key-file", 0, KL_OPTION_STRING, "FILE",
         "file with one API key a line; requests need \"Authorization: Bearer KEY\"",
         &o->api_key_file, 0, 0},
        {"no-auth", 0, KL_OPTION_FLAG, NULL,
         "let every client that reaches --host use the server without a key", &o->no_auth, 0, 0},
        {"allow-host", 0, KL_OPTION_STRINGS, "NAME",
         "a further name of this server, in addition to its addresses, the computer's name and "
         "NAME.local (\"box.lan\", or \"*.lan\" for all that end so); may be repeated",
         &o->allowed_hosts, 0, 0},
        {"allow-origin", 0, KL_OPTION_STRINGS, "ORIGIN",
         "a site whose pages may use this server (\"https://chat.example\"), or apps: desktop "
         "apps, extensions and pages of this computer (app://, tauri://, file://, vscode-*://, "
         "*-extension://, http://localhost on any port); may be repeated",
         &o->allowed_origins, 0, 0},
        {"strict-model", 0, KL_OPTION_FLAG, NULL, "refuse requests that name another model (404)",
         &o->strict_model, 0, 0},
        {"allow-pull", 0, KL_OPTION_FLAG, NULL,
         "let clients of Ollama's API download models to this disk: those of 'kinglet pull "
         "--list', "
         "and public ones of Hugging Face and ModelScope",
         &o->allow_pull, 0, 0},
        {"allow-pull-size", 0, KL_OPTION_BYTES, "SIZE",
         "with it: all models in the cache directory may take this much of the disk, unfinished "
         "downloads included (default 20G); 1G always stays free",
         &o->pull_bytes, 1, (double)((uint64_t)1 << 50)},
        {"alias", 0, KL_OPTION_STRINGS, "NAME[=MODEL]",
         "a further name for the (first) model, listed in /v1/models (\"gpt-4o-mini\"); with "
         "=MODEL the "
         "start fails if that model is not served; may be repeated",
         &o->alias_words, 0, 0},
    };
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

static void add_connection_options(struct kl_option_table *table, struct serve_options *o)
{
    const struct kl_option rows[] = {
        {"max-connections", 0, KL_OPTION_SIZE, "N",
         "connections that may be open (default 1024, or 256 if --memory is below 1G); beyond that "
         "an idle one, or the oldest incomplete request, is closed for a new one",
         &o->max_connections, 1, 10000},
        {"max-connections-per-address", 0, KL_OPTION_SIZE, "N",
         "connections from one address (default 64, but no limit for this computer)",
         &o->max_per_address, 1, 10000},
        {"header-timeout", 0, KL_OPTION_SIZE, "SECONDS",
         "time for the headers of a request, from their first byte", &o->header_seconds, 1,
         MAX_SECONDS},
        {"body-timeout", 0, KL_OPTION_SIZE, "SECONDS", "time for the body of a request",
         &o->body_seconds, 1, MAX_SECONDS},
        {"idle-timeout", 0, KL_OPTION_SIZE, "SECONDS",
         "time until the next request on a connection", &o->idle_seconds, 1, MAX_SECONDS},
        {"reader-timeout", 0, KL_OPTION_SIZE, "SECONDS",
         "time for a client to read 16 KiB of its answer, or as much as there is",
         &o->reader_seconds, 1, MAX_SECONDS},
        {"drain-seconds", 0, KL_OPTION_SIZE, "SECONDS",
         "time for running answers to end after SIGTERM or SIGINT", &o->drain_seconds, 1,
         MAX_SECONDS},
    };
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

/* Which models are served. */
static void add_model_options(struct kl_option_table *table, struct serve_options *o)
{
    const struct kl_option rows[] = {
        {"model", 'm', KL_OPTION_STRINGS, "NAME|FILE",
         "a name from 'kinglet pull --list', OWNER/REPO:QUANT of Hugging Face or ModelScope, a "
         "name "
         "of Ollama's, or a GGUF file, of several parts the first; if not given, $KINGLET_MODEL or "
         "qwen2.5-0.5b-instruct. May be repeated: the first is the default and is downloaded if it "
         "is missing; the others must be here, and are opened by the first request that names them",
         &o->models, 0, 0},
        {"models", 0, KL_OPTION_STRING, "DIR",
         "also the GGUF files of this directory, by their names without .gguf", &o->models_dir, 0,
         0},
        {"chat-template", 0, KL_OPTION_STRINGS, "NAME[=MODEL]",
         "how a conversation is written for the model, or with several models for "
         "MODEL: " KL_CHAT_TEMPLATE_NAMES
         "; if not given, the one that the template in the model file is "
         "known to be, or looks like; may be repeated",
         &o->chat_templates, 0, 0},
        {"keep-alive", 0, KL_OPTION_SIZE, "SECONDS",
         "close a model other than the default that no request has named for this long",
         &o->keep_alive, 0, 366 * 86400},
    };
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

static void add_options(struct kl_option_table *table, struct serve_options *o)
{
    add_model_options(table, o);
    kl_load_add_opening_options(table, &o->load);
    kl_load_add_memory_option(table, &o->load);
    kl_load_add_draft_option(table, &o->load);
    add_answer_options(table, o);
    add_access_options(table, o);
    add_connection_options(table, o);
}

int kl_run_serve(int argc, char **argv)
{
    struct serve_options o = {
        .load = {.ctx_size = KL_SERVING_CTX, .draft_max = KL_DEFAULT_DRAFT_MAX},
        .host = "127.0.0.1",
        .port = KL_DEFAULT_PORT,
        .parallel = KL_SERVING_SLOTS,
        .queue = KL_SERVING_QUEUE,
        .header_seconds = KL_HTTP_HEADER_SECONDS,
        .body_seconds = KL_HTTP_BODY_SECONDS,
        .idle_seconds = KL_HTTP_IDLE_SECONDS,
        .reader_seconds = KL_HTTP_READER_SECONDS,
        .drain_seconds = KL_SERVICE_DRAIN_SECONDS,
        .max_wait = DEFAULT_WAIT,
        .max_seconds = DEFAULT_SECONDS,
        .cache_ram = KL_DEFAULT_CACHE_RAM,
        .cache_disk = KL_DEFAULT_CACHE_DISK,
        .history_bytes = KL_DEFAULT_HISTORY_BYTES,
        .pull_bytes = KL_DEFAULT_PULL_BYTES,
        .policy_name = "error",
        .keep_alive = KL_DEFAULT_KEEP_ALIVE,
        .seed = NO_SEED,
        .log_format = "text"};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "serve",
        .about =
            "Serves the chat page and the HTTP API. Downloads the model first if it is not on this "
            "computer. SIGINT and SIGTERM stop the server; running answers may end. SIGHUP makes "
            "it read --api-key-file and the file of --log-level again; if the server was started "
            "from a terminal that was closed, SIGHUP stops it ('nohup' prevents that).",
        .options = table.rows,
        .n_options = table.n,
    };
    size_t n;
    int code;
    if (!kl_command_line_read(&line, argc, argv, "info", &n, &code))
        return code;
    return run(&o);
}

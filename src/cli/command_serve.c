/* kinglet serve: the chat page and the HTTP API. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "cli/commands.h"
#include "console/key_file.h"
#include "console/options.h"
#include "console/terminal.h"
#include "engine/engine.h"
#include "load/aliases.h"
#include "load/load.h"
#include "load/prefixes.h"
#include "model/plan.h"
#include "server/server.h"

#define DEFAULT_PORT    7860
#define DEFAULT_CTX     4096
#define DEFAULT_SLOTS   4
#define DEFAULT_QUEUE   16
#define MAX_SECONDS     86400
#define DEFAULT_WAIT    120 /* seconds: as long as a client of the OpenAI SDKs would pause */
#define DEFAULT_SECONDS 600 /* as long as the OpenAI SDKs wait for an answer */

struct serve_options {
    struct kl_load_options load;
    const char *host;
    size_t port, parallel, queue, max_wait, max_tokens, max_seconds;
    size_t max_connections, max_per_address;
    size_t header_seconds, body_seconds, idle_seconds, reader_seconds, drain_seconds;
    enum kl_context_policy context_policy;
    const char *policy_name;
    bool loop_guard;
    const char *api_key_file, *log_format;
    uint64_t cache_ram, cache_disk;
    const char *warm_file;
    const struct kl_precompute_texts *warm_texts; /* from warm_file */
    bool no_auth, offline;
    struct kl_string_list allowed_hosts, alias_words;
    struct kl_aliases aliases; /* from alias_words */
};

/* SIGHUP means one of two things: the terminal was closed, or the settings that can change without
 * a restart should be read again. */
struct reloadable {
    struct kl_server *server;
    const char *api_key_file;
    bool of_terminal; /* started from a terminal, and not under nohup */
};

/* Whether standard error is a terminal whose end should end the server. After a terminal was closed
 * isatty says no for its descriptors. */
static bool is_of_terminal(void)
{
    struct sigaction now;
    bool ignored = sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
    return !ignored && isatty(STDERR_FILENO) != 0;
}

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
    struct kl_loaded loaded;
    struct kl_names names; /* aliases of the model */
    struct kl_engine *engine;
    struct kl_rule_cache *rules;
    struct kl_page_store *page_store;
};

static void notify_server(void *context, enum kl_load_stage stage, uint64_t done, uint64_t total)
{
    struct loading *l = context;
    kl_server_loading(l->server, kl_load_stage_name(stage), done, total);
}

static size_t max_connections(const struct serve_options *o)
{
    return o->max_connections != 0 ? o->max_connections
                                   : kl_server_connections_for(kl_load_budget(&o->load));
}

static enum kl_status load(struct loading *l, struct kl_error *err)
{
    const struct serve_options *o = l->options;
    const struct kl_load_observer observer = {notify_server, l};
    struct kl_load_options options = o->load;
    options.observer = &observer;
    enum kl_status status = kl_load(&l->loaded, &options, KL_LOAD_MODEL, err);
    if (status == KL_OK)
        status = kl_aliases_of(&o->aliases, &l->loaded.location, &l->names, err);
    if (status != KL_OK)
        return status;
    if (o->cache_ram > 0) /* pages from disk go into the cache in memory */
        l->page_store = kl_open_page_store(&l->loaded, o->cache_disk);
    const struct kl_server_rule_bytes rules = kl_server_rule_bytes_for(kl_load_budget(&o->load));
    const struct kl_engine_options engine_options = {.ctx_size = l->loaded.ctx_size,
                                                     .parallel = o->parallel,
                                                     .queue_size = o->queue,
                                                     .prefill_chunk = KL_PREFILL_CHUNK,
                                                     .n_threads = l->loaded.threads.decode,
                                                     .n_threads_prefill = l->loaded.threads.prefill,
                                                     .draft_max = o->load.draft_max,
                                                     .pass_costs = &l->loaded.pass_costs,
                                                     .cache_bytes = o->cache_ram,
                                                     .rule_bytes = rules.followed,
                                                     .page_store = l->page_store,
                                                     .plan = &l->loaded.plan};
    kl_plan_add(&l->loaded.plan, "connections", kl_server_connection_bytes(max_connections(o)),
                "--max-connections");
    kl_plan_add(&l->loaded.plan, "requests and answers on their way",
                kl_server_held_bytes_for(kl_load_budget(&o->load)), NULL);
    kl_plan_add(&l->loaded.plan, "requests that are being read", KL_SERVICE_READING_BYTES, NULL);
    kl_plan_add(&l->loaded.plan, "rules of answers, and the trie of tokens",
                kl_rule_cache_most_bytes(l->loaded.tokenizer, rules.compiled), NULL);
    status = kl_rule_cache_open(l->loaded.tokenizer, rules.compiled, &l->rules, err);
    if (status != KL_OK)
        return status;
    status = kl_engine_open(l->loaded.model, l->loaded.tokenizer, &engine_options, &l->engine, err);
    kl_load_log_plan(&l->loaded.plan, status != KL_OK);
    if (status != KL_OK)
        return status;
    kl_info("engine: %zu slots, %zu requests may wait, %zu tokens each; room for %zu tokens in all",
            o->parallel, o->queue, l->loaded.ctx_size, l->loaded.plan.kv_tokens);
    if (o->cache_ram > 0)
        kl_precompute(l->engine, &l->loaded, o->warm_texts);
    return KL_OK;
}

static void *load_main(void *argument)
{
    struct loading *l = argument;
    l->status = load(l, &l->err);
    atomic_store(&l->over, true); /* before the server is notified and perhaps ends */
    if (l->status == KL_OK) {
        struct stat st;
        const struct kl_model_location *where = &l->loaded.location;
        const struct kl_served served = {
            .engine = l->engine,
            .tokenizer = l->loaded.tokenizer,
            .rules = l->rules,
            .chat_template = l->loaded.chat_template,
            .chat_template_by = l->loaded.chat_template_by,
            .model_name = where->name,
            .model_file = where->file,
            .aliases = l->names.values,
            .n_aliases = l->names.len,
            .model_created = stat(where->path, &st) == 0 ? st.st_mtim.tv_sec : 0,
            .model_bytes = l->loaded.file_bytes,
        };
        kl_server_ready(l->server, &served);
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

/* Exits without waiting for a download or the packing of weights. Both may be interrupted anywhere;
 * the next start continues them or begins again. */
static _Noreturn void leave_loading(enum kl_status status, const struct kl_error *err)
{
    int code = KL_EXIT_OK;
    if (status != KL_OK)
        code = kl_report("serve", err);
    else
        kl_info("stopped while the model was being loaded");
    kl_log_stop();
    fflush(NULL);
    _exit(code);
}

static int serve(const struct serve_options *o, const struct kl_api_keys *keys,
                 struct kl_error *err)
{
    struct loading l = {.options = o, .start = kl_now_ns()};
    struct reloadable reloadable = {.api_key_file = o->api_key_file,
                                    .of_terminal = is_of_terminal()};
    const struct kl_server_options options = {
        .http = {.host = o->host,
                 .port = (uint16_t)o->port,
                 .api_keys = keys->keys,
                 .n_api_keys = keys->n,
                 .no_auth = o->no_auth,
                 .allowed_hosts = o->allowed_hosts.values,
                 .n_allowed_hosts = o->allowed_hosts.len,
                 .held_bytes = kl_server_held_bytes_for(kl_load_budget(&o->load)),
                 .max_connections = max_connections(o),
                 .max_connections_per_address = o->max_per_address,
                 .header_seconds = (unsigned)o->header_seconds,
                 .body_seconds = (unsigned)o->body_seconds,
                 .idle_seconds = (unsigned)o->idle_seconds,
                 .reader_seconds = (unsigned)o->reader_seconds},
        .service = {.max_waiting = o->parallel + o->queue,
                    .max_wait_seconds = (double)o->max_wait,
                    .max_tokens = o->max_tokens,
                    .max_seconds = (double)o->max_seconds,
                    .context_policy = o->context_policy,
                    .loop_guard = o->loop_guard,
                    .drain_seconds = (unsigned)o->drain_seconds},
        .memory_budget = o->load.memory,
        .reload = reload,
        .reload_context = &reloadable,
    };
    kl_info("kinglet %s starts", KL_VERSION);
    enum kl_status status = kl_server_open(&options, &l.server, err);
    if (status != KL_OK)
        return kl_report("serve", err);
    kl_info("listening on %s (%.2f s after the start); Ctrl-C stops", kl_server_url(l.server),
            kl_seconds_since(l.start));
    if (getenv("container") != NULL && kl_server_is_local(l.server))
        kl_info("this is a container, and that address cannot be reached from outside: to publish "
                "the port, give serve --host 0.0.0.0 and --api-key-file FILE, or --no-auth if "
                "every client that reaches the port may use it");
    reloadable.server = l.server;
    status = start_loading(&l, err);
    if (status == KL_OK) {
        status = kl_server_run(l.server, err);
        if (!atomic_load(&l.over)) {
            pthread_detach(l.thread);
            leave_loading(status, err);
        }
        pthread_join(l.thread, NULL);
    }
    kl_server_close(l.server);
    kl_engine_close(l.engine);
    kl_rule_cache_close(l.rules);
    kl_page_store_close(l.page_store);
    kl_unload(&l.loaded);
    if (l.status != KL_OK)
        return kl_load_report("serve", &l.err);
    if (status != KL_OK)
        return kl_report("serve", err);
    kl_info("stopped");
    return KL_EXIT_OK;
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
        {"loop-guard", 0, KL_OPTION_SWITCH, "on|off",
         "end answers that only repeat themselves, unless a request says otherwise", &o->loop_guard,
         0, 0},
        {"cache-ram", 0, KL_OPTION_BYTES, "SIZE",
         "keep computed prompts in this much memory (default 64M); 0: keep none", &o->cache_ram, 0,
         (double)((uint64_t)1 << 40)},
        {"cache-disk", 0, KL_OPTION_BYTES, "SIZE",
         "and in this much of the cache directory, where the next start finds them (default 256M); "
         "0: not on disk",
         &o->cache_disk, 0, (double)((uint64_t)1 << 50)},
        {"warm", 0, KL_OPTION_STRING, "FILE",
         "first messages of conversations, one a line, to precompute while the server is idle; "
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
         "a name under which clients reach this server (\"box.lan\", or \"*.lan\" for all names "
         "that end in .lan); may be repeated",
         &o->allowed_hosts, 0, 0},
        {"alias", 0, KL_OPTION_STRINGS, "NAME[=MODEL]",
         "a further name for the model, listed in /v1/models (\"gpt-4o-mini\"); with =MODEL the "
         "start fails if another model is served; may be repeated",
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

static void add_options(struct kl_option_table *table, struct serve_options *o)
{
    kl_load_add_options(table, &o->load);
    kl_load_add_memory_option(table, &o->load);
    kl_load_add_draft_option(table, &o->load);
    add_answer_options(table, o);
    add_access_options(table, o);
    add_connection_options(table, o);
}

int kl_run_serve(int argc, char **argv)
{
    struct serve_options o = {.load = {.ctx_size = DEFAULT_CTX, .draft_max = KL_DEFAULT_DRAFT_MAX},
                              .host = "127.0.0.1",
                              .port = DEFAULT_PORT,
                              .parallel = DEFAULT_SLOTS,
                              .queue = DEFAULT_QUEUE,
                              .header_seconds = KL_HTTP_HEADER_SECONDS,
                              .body_seconds = KL_HTTP_BODY_SECONDS,
                              .idle_seconds = KL_HTTP_IDLE_SECONDS,
                              .reader_seconds = KL_HTTP_READER_SECONDS,
                              .drain_seconds = KL_SERVICE_DRAIN_SECONDS,
                              .max_wait = DEFAULT_WAIT,
                              .max_seconds = DEFAULT_SECONDS,
                              .cache_ram = KL_DEFAULT_CACHE_RAM,
                              .cache_disk = KL_DEFAULT_CACHE_DISK,
                              .policy_name = "error",
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

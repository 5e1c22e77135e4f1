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

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "cli/commands.h"
#include "console/input.h"
#include "console/options.h"
#include "console/terminal.h"
#include "engine/engine.h"
#include "load/aliases.h"
#include "load/load.h"
#include "load/prefixes.h"
#include "server/server.h"

#define MAX_API_KEYS    256
#define KEY_FILE_CAP    (64 * 1024)
#define MIN_KEY_LEN     8
#define MAX_KEY_LEN     512
#define DEFAULT_PORT    7860
#define DEFAULT_CTX     4096
#define DEFAULT_PLACES  4
#define DEFAULT_WAITING 16
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
    const struct kl_precompute_texts *warm_texts; /* of that file */
    bool no_auth, offline;
    struct kl_string_list allowed_hosts, alias_words;
    struct kl_aliases aliases; /* of these words */
};

/* The keys of --api-key-file; they point into text. */
struct api_keys {
    struct kl_buffer text;
    const char *keys[MAX_API_KEYS];
    size_t n;
};

/* One key a line; empty lines and lines that begin with # do not count. */
static enum kl_status read_keys(const char *path, struct api_keys *keys, struct kl_error *err)
{
    struct stat st;
    kl_buffer_init(&keys->text, KEY_FILE_CAP);
    keys->n = 0;
    if (path == NULL)
        return KL_OK;
    enum kl_status status = kl_read_text(path, &keys->text, err);
    if (status != KL_OK)
        return status;
    if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        kl_warning("the key file %s can be read by other users; 'chmod 600' it", path);

    char *rest = keys->text.data, *key;
    size_t line = 0;
    while (rest != NULL && (key = strsep(&rest, "\n")) != NULL) {
        line++;
        key += strspn(key, " \t\r");
        size_t len = strcspn(key, " \t\r");
        if (len == 0 || key[0] == '#')
            continue;
        key[len] = '\0';
        if (len < MIN_KEY_LEN || len > MAX_KEY_LEN)
            return kl_fail(err, KL_ERR_INVALID,
                           "%s, line %zu: a key has %d to %d characters, this one has %zu", path,
                           line, MIN_KEY_LEN, MAX_KEY_LEN, len);
        if (keys->n == MAX_API_KEYS)
            return kl_fail(err, KL_ERR_INVALID, "%s holds more than %d keys", path, MAX_API_KEYS);
        keys->keys[keys->n++] = key;
    }
    if (keys->n == 0)
        return kl_fail(err, KL_ERR_INVALID, "%s holds no key; write one on each line", path);
    return KL_OK;
}

/* SIGHUP has two meanings: the terminal was closed, or what can change without a restart is to be
 * read again. */
struct reloadable {
    struct kl_server *server;
    const char *api_key_file;
    bool of_terminal; /* started from one, and not under nohup */
};

/* A terminal that was closed is none for the descriptors that are left of it. */
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
    struct api_keys keys = {0};
    if (r->of_terminal && isatty(STDERR_FILENO) == 0) {
        kl_info("SIGHUP: the terminal was closed; no new requests are taken");
        kl_server_stop(r->server);
        return;
    }
    /* what cannot be read stays as it is */
    enum kl_status status = kl_log_level_reload(&err);
    if (status == KL_OK && r->api_key_file != NULL) {
        status = read_keys(r->api_key_file, &keys, &err);
        if (status == KL_OK)
            status = kl_server_set_keys(r->server, keys.keys, keys.n, &err);
        kl_buffer_release(&keys.text);
    }
    if (status == KL_OK)
        kl_info("SIGHUP: read again: the log level, %zu API keys", keys.n);
    else
        kl_err("SIGHUP: %s; all stays as it was", err.text);
}

/* ---- the thread that loads ------------------------------------------------------------------- */

struct loading {
    const struct serve_options *options;
    struct kl_server *server;
    uint64_t start;
    pthread_t thread;
    _Atomic(bool) over; /* nothing takes long any more: the thread may be joined */
    enum kl_status status;
    struct kl_error err;
    struct kl_loaded loaded;
    struct kl_names names; /* of the model, beside its own */
    struct kl_engine *engine;
    struct kl_page_store *page_store;
};

static void see_loading(void *context, enum kl_loading_stage stage, uint64_t done, uint64_t total)
{
    struct loading *l = context;
    kl_server_loading(l->server, kl_loading_stage_name(stage), done, total);
}

static size_t max_connections(const struct serve_options *o)
{
    return o->max_connections != 0 ? o->max_connections
                                   : kl_server_connections_for(kl_load_budget(&o->load));
}

static enum kl_status load(struct loading *l, struct kl_error *err)
{
    const struct serve_options *o = l->options;
    const struct kl_load_observer observer = {see_loading, l};
    struct kl_load_options options = o->load;
    options.observer = &observer;
    enum kl_status status = kl_load(&l->loaded, &options, KL_LOAD_MODEL, err);
    if (status == KL_OK)
        status = kl_aliases_of(&o->aliases, &l->loaded.location, &l->names, err);
    if (status != KL_OK)
        return status;
    if (o->cache_ram > 0) /* what comes from disk goes there */
        l->page_store = kl_open_page_store(&l->loaded, o->cache_disk);
    const struct kl_engine_options engine_options = {.ctx_size = l->loaded.ctx_size,
                                                     .parallel = o->parallel,
                                                     .queue_size = o->queue,
                                                     .prefill_chunk = KL_PREFILL_CHUNK,
                                                     .n_threads = l->loaded.threads.decode,
                                                     .n_threads_prefill = l->loaded.threads.prefill,
                                                     .cache_bytes = o->cache_ram,
                                                     .page_store = l->page_store,
                                                     .plan = &l->loaded.plan};
    kl_plan_add(&l->loaded.plan, "connections", kl_server_connection_bytes(max_connections(o)),
                "--max-connections");
    kl_plan_add(&l->loaded.plan, "requests and answers on their way",
                kl_server_held_bytes_for(kl_load_budget(&o->load)), NULL);
    kl_plan_add(&l->loaded.plan, "requests that are being read", KL_SERVICE_READING_BYTES, NULL);
    status = kl_engine_open(l->loaded.model, l->loaded.tokenizer, &engine_options, &l->engine, err);
    kl_load_log_plan(&l->loaded.plan, status != KL_OK);
    if (status != KL_OK)
        return status;
    kl_info(
        "engine: %zu answers at once, %zu may wait, %zu tokens each; room for %zu tokens in all",
        o->parallel, o->queue, l->loaded.ctx_size, l->loaded.plan.kv_tokens);
    if (o->cache_ram > 0)
        kl_precompute(l->engine, &l->loaded, o->warm_texts);
    return KL_OK;
}

static void *load_main(void *argument)
{
    struct loading *l = argument;
    l->status = load(l, &l->err);
    atomic_store(&l->over, true); /* before the server hears of it and perhaps ends */
    if (l->status == KL_OK) {
        struct stat st;
        const struct kl_model_location *where = &l->loaded.location;
        const struct kl_served served = {
            .engine = l->engine,
            .tokenizer = l->loaded.tokenizer,
            .chat_template = l->loaded.chat_template,
            .chat_template_by = l->loaded.chat_template_by,
            .model_name = where->name,
            .model_file = where->file,
            .aliases = l->names.values,
            .n_aliases = l->names.len,
            .model_created = stat(where->path, &st) == 0 ? st.st_mtim.tv_sec : 0,
            .model_bytes = kl_gguf_file(l->loaded.gguf)->size,
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
    return errno == 0 ? KL_OK : kl_fail_errno(err, "the thread that loads could not be started");
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

/* A download or the packing of weights is not waited for. Both may be cut off anywhere and go on,
 * or begin anew, at the next start. */
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

static int serve(const struct serve_options *o, const struct api_keys *keys, struct kl_error *err)
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
        kl_info("this is a container, and nothing outside of it reaches that address: to publish "
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
    kl_page_store_close(l.page_store);
    kl_unload(&l.loaded);
    if (l.status != KL_OK)
        return kl_load_report("serve", &l.err);
    if (status != KL_OK)
        return kl_report("serve", err);
    kl_info("stopped");
    return KL_EXIT_OK;
}

/* With what the command line says. */
static int run(struct serve_options *o)
{
    struct kl_error err = {0};
    struct api_keys keys = {0};
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
        status = read_keys(o->api_key_file, &keys, &err);
    o->warm_texts = &texts;
    code = status == KL_OK ? serve(o, &keys, &err) : kl_report("serve", &err);
    kl_log_stop();
    kl_buffer_release(&keys.text);
    kl_precompute_texts_release(&texts);
    return code;
}

/* What the command line says goes here, over the defaults. */
static struct serve_options given = {.load = {.ctx_size = DEFAULT_CTX},
                                     .host = "127.0.0.1",
                                     .port = DEFAULT_PORT,
                                     .parallel = DEFAULT_PLACES,
                                     .queue = DEFAULT_WAITING,
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

static const struct kl_option table[] = {
    KL_LOAD_ROWS(given.load),
    KL_MEMORY_ROW(given.load),
    {"offline", 0, KL_OPTION_FLAG, NULL, "do not get the model if it is not here", &given.offline,
     0, 0},
    {"host", 0, KL_OPTION_STRING, "ADDRESS",
     "where to listen; any but this computer's own 127.0.0.1 needs --api-key-file or --no-auth",
     &given.host, 0, 0},
    {"port", 'p', KL_OPTION_SIZE, "N", "0 takes a free one", &given.port, 0, 65535},
    {"parallel", 0, KL_OPTION_SIZE, "N", "answers that are written at the same time",
     &given.parallel, 1, 64},
    {"queue", 0, KL_OPTION_SIZE, "N", "requests that may wait; further ones are refused (429)",
     &given.queue, 0, 10000},
    {"max-wait", 0, KL_OPTION_SIZE, "SECONDS",
     "a request that would wait longer is refused (429); 0: none is", &given.max_wait, 0, 86400},
    {"max-tokens", 0, KL_OPTION_SIZE, "N", "longest answer; 0: what a request asks for",
     &given.max_tokens, 0, 1 << 20},
    {"max-seconds", 0, KL_OPTION_SIZE, "SECONDS",
     "longest time for a request, its waiting included; 0: any", &given.max_seconds, 0, 86400},
    {"context-policy", 0, KL_OPTION_STRING, "error|trim",
     "a conversation longer than the context: refuse it (400), or leave its oldest turns out",
     &given.policy_name, 0, 0},
    {"loop-guard", 0, KL_OPTION_SWITCH, "on|off",
     "end answers that only repeat themselves, where a request does not say so itself",
     &given.loop_guard, 0, 0},
    {"cache-ram", 0, KL_OPTION_BYTES, "SIZE",
     "prompts that were computed are kept in this much memory (default 64M); 0: not at all",
     &given.cache_ram, 0, (double)((uint64_t)1 << 40)},
    {"cache-disk", 0, KL_OPTION_BYTES, "SIZE",
     "and in this much of the cache directory, also for the next start (default 256M); 0: not "
     "on disk",
     &given.cache_disk, 0, (double)((uint64_t)1 << 50)},
    {"warm", 0, KL_OPTION_STRING, "FILE",
     "first messages, one a line, that are computed while nobody asks, as some greetings are",
     &given.warm_file, 0, 0},
    {"log-format", 0, KL_OPTION_STRING, "FORMAT", "text or json (one object a line)",
     &given.log_format, 0, 0},
    {"api-key-file", 0, KL_OPTION_STRING, "FILE",
     "one key a line; requests need \"Authorization: Bearer KEY\"", &given.api_key_file, 0, 0},
    {"no-auth", 0, KL_OPTION_FLAG, NULL, "let everybody who reaches --host use it, without a key",
     &given.no_auth, 0, 0},
    {"allow-host", 0, KL_OPTION_STRINGS, "NAME",
     "a name under which clients reach this server (\"box.lan\", or \"*.lan\" for all that end "
     "so); may be given again",
     &given.allowed_hosts, 0, 0},
    {"alias", 0, KL_OPTION_STRINGS, "NAME[=MODEL]",
     "a further name for the model, shown in /v1/models (\"gpt-4o-mini\"); with =MODEL the "
     "start fails where another model is served; may be given again",
     &given.alias_words, 0, 0},
    {"max-connections", 0, KL_OPTION_SIZE, "N",
     "connections that may be open (default 1024, or 256 where --memory is below 1G); an idle one, "
     "or the oldest incomplete request, makes room for a new one",
     &given.max_connections, 1, 10000},
    {"max-connections-per-address", 0, KL_OPTION_SIZE, "N",
     "of these from one address (default 64, but any number from this computer)",
     &given.max_per_address, 1, 10000},
    {"header-timeout", 0, KL_OPTION_SIZE, "SECONDS",
     "for the headers of a request, from their first byte", &given.header_seconds, 1, MAX_SECONDS},
    {"body-timeout", 0, KL_OPTION_SIZE, "SECONDS", "for the body of a request", &given.body_seconds,
     1, MAX_SECONDS},
    {"idle-timeout", 0, KL_OPTION_SIZE, "SECONDS", "until the next request on a connection",
     &given.idle_seconds, 1, MAX_SECONDS},
    {"reader-timeout", 0, KL_OPTION_SIZE, "SECONDS",
     "for a client to take 16 KiB of its answer, or what there is of it", &given.reader_seconds, 1,
     MAX_SECONDS},
    {"drain-seconds", 0, KL_OPTION_SIZE, "SECONDS",
     "for running answers to end after SIGTERM or SIGINT", &given.drain_seconds, 1, MAX_SECONDS},
};

int kl_run_serve(int argc, char **argv)
{
    const struct kl_command_line line = {
        .command = "serve",
        .about = "Serves the chat page and the HTTP API. Gets the model first if it is not here. "
                 "SIGINT and SIGTERM stop it; answers that are being written may end. SIGHUP "
                 "makes it read --api-key-file and the file of --log-level again, or, where it was "
                 "started from a terminal that was closed, stops it ('nohup' lets it go on).",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
    };
    size_t n;
    int code;
    if (!kl_command_line_read(&line, argc, argv, "info", &n, &code))
        return code;
    return run(&given);
}

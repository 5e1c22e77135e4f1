/* kinglet serve: the chat page and the HTTP API. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/load.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "server/server.h"

#define MAX_API_KEYS    256
#define KEY_FILE_CAP    (64 * 1024)
#define MIN_KEY_LEN     8
#define MAX_KEY_LEN     512
#define DEFAULT_PORT    7860
#define DEFAULT_CTX     4096
#define DEFAULT_PLACES  4
#define DEFAULT_WAITING 16

struct serve_options {
    struct kl_load_options load;
    const char *host;
    size_t port, parallel, queue;
    const char *api_key_file;
    bool no_auth, offline;
    struct kl_string_list allowed_hosts;
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
    enum kl_status status = kl_read_input(path, &keys->text, err);
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

/* Bytes of this process that are in memory now, and those of them that are not a file's. */
static void resident_memory(uint64_t *all, uint64_t *own)
{
    unsigned long long resident = 0, shared = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%*u %llu %llu", &resident, &shared) != 2)
            resident = shared = 0;
        fclose(file);
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *all = resident * page;
    *own = (resident - shared) * page;
}

static void log_memory_plan(const struct kl_loaded *l, struct kl_engine *engine)
{
    struct kl_engine_stats stats;
    char weights[32], buffers[32], token[32], most[32], all_text[32], own_text[32];
    uint64_t all, own;
    kl_engine_stats(engine, &stats);
    resident_memory(&all, &own);
    size_t per_token = kl_kv_bytes_per_token(l->model);
    kl_info(
        "memory: %s of weights; %s of buffers; KV cache %s a token, grows with use up to %s for "
        "%zu tokens; resident now %s, of which %s are not mapped files",
        kl_format_bytes((double)kl_model_work(l->model).bytes_per_token, weights, sizeof weights),
        kl_format_bytes((double)stats.buffer_bytes, buffers, sizeof buffers),
        kl_format_bytes((double)per_token, token, sizeof token),
        kl_format_bytes((double)per_token * (double)stats.kv_max_tokens, most, sizeof most),
        stats.kv_max_tokens, kl_format_bytes((double)all, all_text, sizeof all_text),
        kl_format_bytes((double)own, own_text, sizeof own_text));
}

static enum kl_status run_server(const struct serve_options *o, const struct api_keys *keys,
                                 const struct kl_loaded *l, struct kl_engine *engine,
                                 uint64_t start, struct kl_error *err)
{
    struct stat st;
    const struct kl_mapped_file *file = kl_gguf_file(l->gguf);
    const char *slash = strrchr(l->location.path, '/');
    struct kl_server_options options = {
        .host = o->host,
        .port = (uint16_t)o->port,
        .api_keys = keys->keys,
        .n_api_keys = keys->n,
        .no_auth = o->no_auth,
        .allowed_hosts = o->allowed_hosts.values,
        .n_allowed_hosts = o->allowed_hosts.len,
        .engine = engine,
        .tokenizer = l->tokenizer,
        .chat_template = l->chat_template,
        .model_name = l->location.name,
        .model_file = slash != NULL ? slash + 1 : l->location.path,
        .model_created = stat(l->location.path, &st) == 0 ? st.st_mtim.tv_sec : 0,
        .model_bytes = file->size,
    };
    struct kl_server *server;
    enum kl_status status = kl_server_open(&options, &server, err);
    if (status != KL_OK)
        return status;
    kl_info("listening on %s (%.2f s after the start); Ctrl-C stops", kl_server_url(server),
            kl_seconds_since(start));
    status = kl_server_run(server, err);
    kl_server_close(server);
    return status;
}

static int serve(const struct serve_options *o, const struct api_keys *keys, struct kl_error *err)
{
    uint64_t start = kl_now_ns();
    struct kl_loaded loaded;
    kl_info("kinglet %s starts", KL_VERSION);
    if (kl_load(&loaded, &o->load, KL_LOAD_MODEL, err) != KL_OK)
        return kl_load_report("serve", err);

    struct kl_engine *engine = NULL;
    const struct kl_engine_options options = {.ctx_size = loaded.ctx_size,
                                              .parallel = o->parallel,
                                              .queue_size = o->queue,
                                              .prefill_chunk = KL_PREFILL_CHUNK,
                                              .n_threads = loaded.n_threads};
    uint64_t engine_start = kl_now_ns();
    enum kl_status status = kl_engine_open(loaded.model, loaded.tokenizer, &options, &engine, err);
    if (status == KL_OK) {
        kl_info("engine ready (%.2f s): %zu answers at once, %zu may wait, %zu tokens each",
                kl_seconds_since(engine_start), o->parallel, o->queue, loaded.ctx_size);
        log_memory_plan(&loaded, engine);
        status = run_server(o, keys, &loaded, engine, start, err);
        kl_engine_close(engine);
    }
    kl_unload(&loaded);
    if (status != KL_OK)
        return kl_report("serve", err);
    kl_info("stopped");
    return KL_EXIT_OK;
}

int kl_run_serve(int argc, char **argv)
{
    struct serve_options o = {.load = {.cpu = "auto", .ctx_size = DEFAULT_CTX},
                              .host = "127.0.0.1",
                              .port = DEFAULT_PORT,
                              .parallel = DEFAULT_PLACES,
                              .queue = DEFAULT_WAITING};
    const struct kl_option table[] = {
        KL_LOAD_ROWS(o.load),
        {"offline", 0, KL_OPTION_FLAG, NULL, "do not get the model if it is not here", &o.offline,
         0, 0},
        {"host", 0, KL_OPTION_STRING, "ADDRESS",
         "where to listen; any but this computer's own 127.0.0.1 needs --api-key-file or --no-auth",
         &o.host, 0, 0},
        {"port", 'p', KL_OPTION_SIZE, "N", "0 takes a free one", &o.port, 0, 65535},
        {"parallel", 0, KL_OPTION_SIZE, "N", "answers that are written at the same time",
         &o.parallel, 1, 64},
        {"queue", 0, KL_OPTION_SIZE, "N", "requests that may wait; further ones are refused (429)",
         &o.queue, 0, 10000},
        {"api-key-file", 0, KL_OPTION_STRING, "FILE",
         "one key a line; requests need \"Authorization: Bearer KEY\"", &o.api_key_file, 0, 0},
        {"no-auth", 0, KL_OPTION_FLAG, NULL,
         "let everybody who reaches --host use it, without a key", &o.no_auth, 0, 0},
        {"allow-host", 0, KL_OPTION_STRINGS, "NAME",
         "a name under which clients reach this server (\"box.lan\"); may be given again",
         &o.allowed_hosts, 0, 0},
    };
    const struct kl_command_line line = {
        .command = "serve",
        .about = "Serves the chat page and the HTTP API. Gets the model first if it is not here. "
                 "SIGINT and SIGTERM stop it; answers that are being written may end.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "info", &n, &code))
        return code;
    o.load.pull = !o.offline;
    struct api_keys keys;
    if (read_keys(o.api_key_file, &keys, &err) == KL_OK)
        code = serve(&o, &keys, &err);
    else
        code = kl_report("serve", &err);
    kl_buffer_release(&keys.text);
    return code;
}

/*
 * Sends bytes to a whole server with a tiny model over a real connection: the reply is always an
 * HTTP answer and never a 500, and the server stops cleanly after the last input.
 *
 * The first byte of the input chooses a route by its last decimal digit, and among those of POST by
 * the others; the rest is its body, or the query of GET /chat. The digit 9 sends the rest as raw
 * bytes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "kernels/kernels.h"
#include "server/server.h"
#include "tiny_tokenizer.h"

#define CONTEXT 256

static struct kl_server *server;

static void *serve(void *unused)
{
    struct kl_error err = {0};
    (void)unused;
    PROMISE(kl_server_run(server, &err) == KL_OK);
    return NULL;
}

static void start(void)
{
    static struct kl_model *model;
    static struct kl_served served = {.model_name = "tiny"};
    struct kl_model_options options = {0};
    struct kl_error err = {0};
    static const char *const origins[] = {"apps"};
    const struct kl_server_options server_options = {
        .http = {.allowed_origins = origins, .n_allowed_origins = 1},
        .service = {.max_waiting = 8,
                    .max_tokens = 3,
                    .answer_bytes = (size_t)64 << 10,
                    .late_lines = "home-assistant"}};
    const struct kl_engine_options engine_options = {.ctx_size = CONTEXT,
                                                     .parallel = 2,
                                                     .queue_size = 8,
                                                     .prefill_chunk = 64,
                                                     .n_threads = 1,
                                                     .cache_bytes = (size_t)1 << 20};
    pthread_t thread;
    served.tokenizer = tiny_tokenizer();
    PROMISE(kl_rule_cache_open(served.tokenizer, (size_t)1 << 20, &served.rules, &err) == KL_OK);
    served.chat_template = kl_chat_template_for(tiny_gguf(), NULL);
    PROMISE(kl_kernels_select(NULL, &options.kernels, &err) == KL_OK);
    PROMISE(kl_model_open(tiny_gguf(), &options, &model, &err) == KL_OK);
    PROMISE(kl_engine_open(model, served.tokenizer, &engine_options, &served.engine, &err) ==
            KL_OK);
    PROMISE(kl_server_open(&server_options, &server, &err) == KL_OK);
    kl_server_ready(server, &served, 1);
    PROMISE(pthread_create(&thread, NULL, serve, NULL) == 0);
}

static int dial(void)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(kl_server_port(server)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PROMISE(fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
    for (const char *at = data; len > 0;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* the server refused the rest */
        at += n;
        len -= (size_t)n;
    }
}

/* recv(); libFuzzer's alarm, which interrupts it twice in -timeout, restarts nothing. */
static ssize_t receive(int fd, char *to, size_t size)
{
    ssize_t n;
    do
        n = recv(fd, to, size, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Reads to the end of the connection. expects: an answer must arrive, complete or cut. */
static void check_answer(int fd, bool expects)
{
    char head[64] = "", rest[4096];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof head - 1 && (n = receive(fd, head + len, sizeof head - 1 - len)) > 0)
        len += (size_t)n;
    while (receive(fd, rest, sizeof rest) > 0)
        ;
    PROMISE(len > 0 || !expects);
    if (len == 0)
        return;
    PROMISE(strncmp(head, "HTTP/1.1 ", 9) == 0);
    PROMISE(strncmp(head + 9, "500", 3) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const posts[] = {
        "/v1/chat/completions",       /* 0 */
        "/chat",                      /* 1 */
        "/v1/embeddings",             /* 10 */
        "/embeddings",                /* 11 */
        "/v1/completions",            /* 20 */
        "/completion",                /* 21 */
        "/infill",                    /* 30 */
        "/tokenize",                  /* 31 */
        "/detokenize",                /* 40 */
        "/apply-template",            /* 41 */
        "/v1/responses",              /* 50 */
        "/v1/messages",               /* 51 */
        "/v1/messages/count_tokens",  /* 60 */
        "/v1/responses/input_tokens", /* 61 */
        "/api/chat",                  /* 70 */
        "/api/generate",              /* 71 */
        "/api/embed",                 /* 80 */
        "/api/show",                  /* 81 */
        "/api/pull",                  /* 90 */
        "/api/embeddings"             /* 91 */
    };
    const size_t n_posts = sizeof posts / sizeof *posts;
    static const char *const gets[] = {"/health",   "/metrics",   "/ready",
                                       "/api/tags", "/v1/models", "/"};
    char head[256];
    if (server == NULL)
        start();
    unsigned choice = take_byte(&data, &size), route = choice % 10;
    int fd = dial();
    if (route < 2) {
        int n = snprintf(head, sizeof head,
                         "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                         posts[(route + choice / 10 * 2) % n_posts], size);
        send_all(fd, head, (size_t)n);
        send_all(fd, data, size);
    } else if (route < 9) {
        const char *path = route < 8 ? gets[route - 2] : "/chat?prompt=";
        int n = snprintf(head, sizeof head, "GET %s", path);
        send_all(fd, head, (size_t)n);
        send_all(fd, data, size);
        n = snprintf(head, sizeof head,
                     " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        send_all(fd, head, (size_t)n);
    } else {
        send_all(fd, data, size);
        shutdown(fd, SHUT_WR);
    }
    /* the query may have announced a body */
    if (route > 1 && route < 9 && memchr(data, '\n', size) != NULL)
        shutdown(fd, SHUT_WR);
    check_answer(fd, route < 2);
    close(fd);
    return 0;
}

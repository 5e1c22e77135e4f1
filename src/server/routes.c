#include "server/routes.h"

#include "api/chats.h"
#include "server/page.h"

/* One row per endpoint: path, methods, flags, and the function that answers, which is defined in
 * the endpoint's file (KL_HANDLER). All files of the page share the last row. */
#define ROUTES(ROW)                                                                                \
    ROW("/chat", KL_GET | KL_POST, KL_ROUTE_ANSWERS, kl_handle_native_chat, NULL)                  \
    ROW("/v1/chat/completions", KL_POST, KL_ROUTE_V1 | KL_ROUTE_ANSWERS,                           \
        kl_handle_chat_completions, NULL)                                                          \
    ROW("/v1/chat/completions/input_tokens", KL_POST, KL_ROUTE_V1 | KL_ROUTE_ANSWERS,              \
        kl_handle_chat_input_tokens, NULL)                                                         \
    ROW("/v1/completions", KL_POST, KL_ROUTE_ANSWERS, kl_handle_completions, NULL)                 \
    ROW("/completion", KL_POST, KL_ROUTE_ANSWERS, kl_handle_llama_completion, NULL)                \
    ROW("/completions", KL_POST, KL_ROUTE_ANSWERS, kl_handle_llama_completion, NULL)               \
    ROW("/infill", KL_POST, KL_ROUTE_ANSWERS, kl_handle_infill, NULL)                              \
    ROW("/tokenize", KL_POST, 0, kl_handle_tokenize, NULL)                                         \
    ROW("/detokenize", KL_POST, 0, kl_handle_detokenize, NULL)                                     \
    ROW("/apply-template", KL_POST, 0, kl_handle_apply_template, NULL)                             \
    ROW("/props", KL_GET | KL_POST, 0, kl_handle_props, NULL)                                      \
    ROW("/slots", KL_GET | KL_POST, KL_ROUTE_SUBTREE, kl_handle_slots, NULL)                       \
    ROW("/v1/embeddings", KL_POST, KL_ROUTE_ANSWERS, kl_handle_embeddings, NULL)                   \
    ROW("/embedding", KL_POST, KL_ROUTE_ANSWERS, kl_handle_llama_embeddings, NULL)                 \
    ROW("/embeddings", KL_POST, KL_ROUTE_ANSWERS, kl_handle_llama_embeddings, NULL)                \
    ROW("/v1/responses/input_tokens", KL_POST, KL_ROUTE_V1, kl_handle_responses_input_tokens,      \
        NULL)                                                                                      \
    ROW("/v1/responses", KL_POST, KL_ROUTE_V1 | KL_ROUTE_ANSWERS, kl_handle_responses, NULL)       \
    ROW("/v1/responses", KL_GET | KL_DELETE, KL_ROUTE_V1 | KL_ROUTE_SUBTREE,                       \
        kl_handle_kept_response, NULL)                                                             \
    ROW("/v1/answers", KL_GET | KL_DELETE, KL_ROUTE_V1 | KL_ROUTE_SUBTREE | KL_ROUTE_ANSWERS,      \
        kl_handle_answers, NULL)                                                                   \
    ROW("/v1/messages", KL_POST, KL_ROUTE_V1 | KL_ROUTE_ANSWERS | KL_ROUTE_MESSAGES,               \
        kl_handle_messages, NULL)                                                                  \
    ROW("/v1/messages/count_tokens", KL_POST, KL_ROUTE_V1 | KL_ROUTE_MESSAGES,                     \
        kl_handle_count_tokens, NULL)                                                              \
    ROW("/api/chat", KL_POST, KL_ROUTE_ANSWERS | KL_ROUTE_OLLAMA, kl_handle_ollama_chat, NULL)     \
    ROW("/api/generate", KL_POST, KL_ROUTE_ANSWERS | KL_ROUTE_OLLAMA, kl_handle_ollama_generate,   \
        NULL)                                                                                      \
    ROW("/api/embed", KL_POST, KL_ROUTE_ANSWERS | KL_ROUTE_OLLAMA, kl_handle_ollama_embed, NULL)   \
    ROW("/api/embeddings", KL_POST, KL_ROUTE_ANSWERS | KL_ROUTE_OLLAMA,                            \
        kl_handle_ollama_embeddings, NULL)                                                         \
    ROW("/api/version", KL_GET, KL_ROUTE_OLLAMA, kl_handle_ollama_version, NULL)                   \
    ROW("/api/tags", KL_GET, KL_ROUTE_OLLAMA, kl_handle_ollama_tags, NULL)                         \
    ROW("/api/ps", KL_GET, KL_ROUTE_OLLAMA, kl_handle_ollama_ps, NULL)                             \
    ROW("/api/show", KL_POST, KL_ROUTE_OLLAMA, kl_handle_ollama_show, NULL)                        \
    ROW("/api/pull", KL_POST, KL_ROUTE_OLLAMA, kl_handle_ollama_pull, NULL)                        \
    ROW("/api/push", KL_POST, KL_ROUTE_OLLAMA, kl_handle_ollama_change, NULL)                      \
    ROW("/api/create", KL_POST, KL_ROUTE_OLLAMA, kl_handle_ollama_change, NULL)                    \
    ROW("/api/copy", KL_POST, KL_ROUTE_OLLAMA, kl_handle_ollama_change, NULL)                      \
    ROW("/api/delete", KL_DELETE | KL_POST, KL_ROUTE_OLLAMA, kl_handle_ollama_change, NULL)        \
    ROW("/api/blobs", KL_GET | KL_POST, KL_ROUTE_OLLAMA | KL_ROUTE_SUBTREE,                        \
        kl_handle_ollama_change, NULL)                                                             \
    ROW("/api", KL_GET | KL_POST | KL_DELETE, KL_ROUTE_OLLAMA | KL_ROUTE_SUBTREE,                  \
        kl_handle_ollama_unknown, NULL)                                                            \
    ROW("/v1/chats", KL_GET, 0, kl_handle_chats, NULL)                                             \
    ROW("/v1/chats/{id}/messages", KL_POST, 0, kl_handle_chat_messages, kl_chats_has_messages)     \
    ROW("/v1/chats", KL_GET | KL_PUT | KL_DELETE, KL_ROUTE_SUBTREE, kl_handle_chat, NULL)          \
    ROW("/v1/models", KL_GET, KL_ROUTE_V1 | KL_ROUTE_SUBTREE, kl_handle_models, NULL)              \
    ROW("/health", KL_GET, KL_ROUTE_OPEN, kl_handle_health, NULL)                                  \
    ROW("/live", KL_GET, KL_ROUTE_OPEN, kl_handle_live, NULL)                                      \
    ROW("/metrics", KL_GET, 0, kl_handle_metrics, NULL)                                            \
    ROW("/ready", KL_GET, KL_ROUTE_OPEN, kl_handle_ready, NULL)                                    \
    ROW("/", KL_GET, KL_ROUTE_OPEN | KL_ROUTE_PUBLIC, kl_handle_page, kl_page_has)

#define DECLARE(path, methods, flags, handle, has) void handle(struct kl_exchange *x);
ROUTES(DECLARE)

#define ROW(...) {__VA_ARGS__},
static const struct kl_route rows[] = {ROUTES(ROW)};

const struct kl_routes kl_server_routes = {rows, sizeof rows / sizeof rows[0]};

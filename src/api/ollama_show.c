/*
 * POST /api/show, as in Ollama's API: what the model is and can do.
 *
 * The context_length is that of this server, by which clients measure their prompts, not what the
 * model was trained for. The template is in Ollama's notation and only says which parts a prompt
 * has (clients look for .Suffix and .Tools): prompts are made by text/chat_template.h.
 */
#include <stdio.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/ollama_fields.h"
#include "api/ollama_models.h"
#include "api/reply_json.h"
#include "service/intake.h"
#include "service/served.h"

static const char template_gap[] = "{{- if .Suffix }}<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ "
                                   ".Suffix }}<|fim_middle|>{{ else }}";
static const char template_tools[] =
    "{{- if .Tools }}{{ range .Tools }}{{ . }}\n{{ end }}{{ end }}";
static const char template_chat[] = "{{- if .System }}{{ .System }}{{ end }}\n"
                                    "{{- range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}";

/* Adds a member whose name begins with the architecture. */
static void add_figure(json_t *info, const char *architecture, const char *name, size_t value)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    json_object_set_new(info, key, json_integer((json_int_t)value));
}

static json_t *info_json(const struct kl_served *served, size_t ctx_size)
{
    const struct kl_model_facts *f = served->facts;
    if (f == NULL)
        return json_object();
    const char *architecture = f->architecture;
    json_t *info = json_pack(
        "{s:s, s:s, s:I, s:s}", "general.architecture", architecture, "general.basename",
        f->basename[0] != '\0' ? f->basename : served->model_name, "general.parameter_count",
        (json_int_t)f->n_parameters, "general.name", served->model_name);
    if (f->file_type != UINT32_MAX)
        json_object_set_new(info, "general.file_type", json_integer((json_int_t)f->file_type));
    add_figure(info, architecture, "context_length", ctx_size);
    add_figure(info, architecture, "embedding_length", f->n_embd);
    add_figure(info, architecture, "block_count", f->n_layers);
    add_figure(info, architecture, "feed_forward_length", f->n_ff);
    add_figure(info, architecture, "attention.head_count", f->n_heads);
    add_figure(info, architecture, "attention.head_count_kv", f->n_kv_heads);
    add_figure(info, architecture, "vocab_size", f->n_vocab);
    return info;
}

static json_t *template_json(const struct kl_served *served)
{
    bool gaps = kl_served_has_gaps(served);
    bool tools = kl_chat_template_has(served->chat_template, KL_CHAT_TOOLS);
    return json_pack("s+++", gaps ? template_gap : "", tools ? template_tools : "", template_chat,
                     gaps ? "{{ end }}" : "");
}

static enum kl_status write_show(const struct kl_computation *c, struct kl_buffer *out,
                                 struct kl_api_error *error)
{
    const struct kl_served *served = c->served;
    char parameters[64];
    snprintf(parameters, sizeof parameters, "%-30s %zu", "num_ctx", c->ctx_size);
    json_t *shown =
        json_pack("{s:s, s:s++, s:s, s:o, s:o, s:o, s:o, s:o}", "license",
                  served->facts != NULL ? served->facts->license : "", "modelfile",
                  "# made by the server; it is not read\nFROM ", served->model_name, "\n",
                  "parameters", parameters, "template", template_json(served), "details",
                  kl_ollama_details_json(served), "model_info", info_json(served, c->ctx_size),
                  "capabilities", kl_ollama_capabilities_json(served), "modified_at",
                  kl_ollama_time_json(served->model_created));
    return kl_write_json(out, shown, error);
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    const json_t *body = NULL;
    bool verbose = false;
    r->compute = write_show;
    r->closed_suffices = true;
    enum kl_status status = kl_ollama_body(text, len, r, &body, error);
    return status == KL_OK ? kl_field_bool(body, "verbose", &verbose, error) : status;
}

/* The document is what was computed; only errors are left to write. */
static const struct kl_answer_format computed = {.error = kl_document_error};
static const struct kl_dialect dialect = {kl_answer_headers, parse, &computed, &computed};

KL_HANDLER(kl_handle_ollama_show)
{
    kl_generation_start(x, &dialect);
}

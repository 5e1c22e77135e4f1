/* kinglet chat: one answer, or a conversation on the terminal. */
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/clock.h"
#include "base/foreign_text.h"
#include "base/today.h"
#include "cli/chat_rule.h"
#include "cli/commands.h"
#include "cli/line_editor.h"
#include "console/chat_prompt.h"
#include "console/interrupt.h"
#include "console/options.h"
#include "console/terminal.h"
#include "engine/engine.h"
#include "grammar/token_trie.h"
#include "load/load.h"
#include "load/prefixes.h"
#include "text/chat_template.h"

#define MAX_TEXT     ((size_t)4 << 20) /* bytes of one message; no context is that long */
#define LONG_PROMPT  200               /* tokens; prefill of fewer is too quick to be shown */
#define MAX_MESSAGES 4096

struct chat_options {
    struct kl_load_options load;
    const char *system;
    size_t max_tokens, top_k, repeat_last_n;
    struct kl_sampling sampling;
    struct kl_chat_rule_options rule;
    bool offline, no_input, loop_guard;
};

struct chat {
    const struct chat_options *options;
    struct kl_loaded loaded;
    struct kl_engine *engine;
    struct kl_rule *rule;                     /* NULL: answers are free */
    struct kl_token_trie *trie;               /* with a rule */
    struct kl_message messages[MAX_MESSAGES]; /* the contents are copies that we free */
    size_t n_messages;
    struct kl_buffer answer;
    struct kl_output output;
};

/* ---- messages -------------------------------------------------------------------------------- */

static enum kl_status add_message(struct chat *c, const char *role, const char *text, size_t len,
                                  struct kl_error *err)
{
    if (c->n_messages == MAX_MESSAGES)
        return kl_fail(
            err, KL_ERR_LIMIT,
            "the conversation has %d messages, the most that it may have; /clear begins a new one",
            MAX_MESSAGES);
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return kl_fail_memory(err, "a message", len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    c->messages[c->n_messages++] =
        (struct kl_message){.role = role, .content = copy, .content_len = len};
    return KL_OK;
}

static void drop_message(struct chat *c)
{
    free((void *)(uintptr_t)c->messages[--c->n_messages].content);
}

static enum kl_status begin_conversation(struct chat *c, struct kl_error *err)
{
    while (c->n_messages > 0)
        drop_message(c);
    const char *text = c->options->system;
    return text != NULL ? add_message(c, "system", text, strlen(text), err) : KL_OK;
}

static enum kl_status submit(struct chat *c, struct kl_request **request, struct kl_error *err)
{
    const struct chat_options *o = c->options;
    char today[KL_DATE_SIZE];
    kl_today(today);
    const struct kl_chat chat = {.messages = c->messages,
                                 .n_messages = c->n_messages,
                                 .date = today,
                                 .add_generation_prompt = true};
    struct kl_prompt prompt;
    struct kl_tokens tokens = {0};
    enum kl_status status = kl_chat_render(c->loaded.chat_template, &chat, &prompt, err);
    if (status != KL_OK)
        return status;
    status = kl_tokenizer_encode(c->loaded.tokenizer, prompt.spans, prompt.n_spans, &tokens, err);
    if (status == KL_OK) {
        const struct kl_request_options options = {.tokens = tokens.ids,
                                                   .n_tokens = tokens.len,
                                                   .max_tokens = o->max_tokens,
                                                   .sampling = o->sampling,
                                                   .rule = c->rule,
                                                   .trie = c->trie,
                                                   .loop_guard = o->loop_guard};
        status = kl_engine_submit(c->engine, &options, request, err);
    }
    kl_tokens_release(&tokens);
    kl_prompt_release(&prompt);
    return status;
}

/* ---- an answer ------------------------------------------------------------------------------- */

static void show_reading(const struct kl_event *event)
{
    if (event->total >= LONG_PROMPT && isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\rreading the prompt: %" PRIu32 " of %" PRIu32 " tokens\033[K",
                event->done, event->total);
}

static void show_speed(const struct kl_event *done, double first_text)
{
    double prefill = (double)(done->prompt_tokens - done->cached_tokens);
    fprintf(stderr, "[%" PRIu32 " tokens", done->answer_tokens);
    if (done->answer_tokens > 1 && done->decode_seconds > 0)
        fprintf(stderr, ", %.1f tokens/s",
                (double)(done->answer_tokens - 1) / done->decode_seconds);
    fprintf(stderr, "; prompt %" PRIu32 " tokens", done->prompt_tokens);
    if (done->prefill_seconds > 0 && prefill > 0)
        fprintf(stderr, ", %.1f tokens/s", prefill / done->prefill_seconds);
    if (first_text > 0)
        fprintf(stderr, "; first text after %.2f s", first_text);
    if (done->finish == KL_FINISH_LENGTH)
        fprintf(stderr, "; cut off: no room for more (--max-tokens, --ctx-size)");
    if (done->finish == KL_FINISH_REPETITION)
        fprintf(stderr, "; ended because it only repeated itself");
    if (done->finish == KL_FINISH_CANCELLED)
        fprintf(stderr, "; stopped");
    fprintf(stderr, "]\n");
}

/* Prints the answer while it arrives and collects it in c->answer. */
static enum kl_status stream(struct chat *c, struct kl_request *request, struct kl_event *event,
                             double *first_text, struct kl_error *err)
{
    uint64_t start = kl_now_ns();
    bool reading = false;
    enum kl_status status = KL_OK;
    kl_buffer_clear(&c->answer);
    *first_text = 0;
    for (;;) {
        if (!kl_interrupt_wait(kl_engine_wake_fd(c->engine)))
            kl_request_cancel(request);
        kl_engine_wake_clear(c->engine);
        while (kl_request_poll(request, event)) {
            if (event->type == KL_EVENT_PREFILL) {
                show_reading(event);
                reading = event->total >= LONG_PROMPT;
            }
            if (reading && event->type != KL_EVENT_PREFILL && isatty(STDERR_FILENO) == 1) {
                fprintf(stderr, "\r\033[K");
                reading = false;
            }
            if (event->type == KL_EVENT_DONE) {
                struct kl_error later; /* held-back bytes must not begin the next answer */
                enum kl_status ended = kl_output_end(&c->output, status == KL_OK ? err : &later);
                return status == KL_OK ? ended : status;
            }
            if (event->type != KL_EVENT_TEXT || status != KL_OK)
                continue;
            if (*first_text <= 0)
                *first_text = kl_seconds_since(start);
            status = kl_buffer_append(&c->answer, event->text, event->text_len);
            if (status != KL_OK)
                kl_fail(err, status, "the answer is longer than %zu bytes", c->answer.cap);
            else
                status = kl_output_write(&c->output, event->text, event->text_len, err);
            if (status == KL_OK && fflush(stdout) != 0)
                status = kl_fail_errno(err, "the answer cannot be written");
            if (status != KL_OK)
                kl_request_cancel(request);
        }
    }
}

static enum kl_status answer(struct chat *c, struct kl_error *err)
{
    struct kl_event event;
    struct kl_request *request;
    double first_text;
    enum kl_status status = submit(c, &request, err);
    if (status != KL_OK)
        return status;
    status = stream(c, request, &event, &first_text, err);
    kl_request_release(request);
    if (status != KL_OK)
        return status;
    bool line_ended = c->answer.len > 0 && c->answer.data[c->answer.len - 1] == '\n';
    if (!line_ended) {
        putchar('\n');
        fflush(stdout);
    }
    if (event.finish == KL_FINISH_ERROR)
        return kl_fail(err, KL_ERR_IO, "%s", event.text);
    show_speed(&event, first_text);
    return KL_OK;
}

/* ---- conversation ---------------------------------------------------------------------------- */

static void print_help(void)
{
    fputs("  /clear  begin a new conversation\n  /exit   exit (also Ctrl-D)\n  /help   show this "
          "list\n  Ctrl-C stops an answer, or discards a line. Arrow keys edit and recall lines.\n",
          stderr);
}

/* Answers one line. Prints an error and goes on with the conversation without that line. */
static void reply(struct chat *c, const char *line)
{
    struct kl_error err = {0};
    if (add_message(c, "user", line, strlen(line), &err) != KL_OK) {
        fprintf(stderr, "%s\n", err.text);
        return;
    }
    enum kl_status status = answer(c, &err);
    if (status == KL_OK)
        status = add_message(c, "assistant", c->answer.len > 0 ? c->answer.data : "", c->answer.len,
                             &err);
    if (status == KL_OK)
        return;
    drop_message(c);
    fprintf(stderr, "%s\n", err.text);
    if (status == KL_ERR_LIMIT)
        fputs("/clear begins a new conversation.\n", stderr);
}

/* Returns false when the conversation is over. */
static bool handle_line(struct chat *c, const char *line)
{
    struct kl_error err = {0};
    line += strspn(line, " \t");
    if (*line == '\0')
        return true;
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0)
        return false;
    if (strcmp(line, "/help") == 0) {
        print_help();
    } else if (strcmp(line, "/clear") == 0) {
        if (begin_conversation(c, &err) != KL_OK)
            fprintf(stderr, "%s\n", err.text);
        else
            fputs("The conversation was cleared.\n", stderr);
    } else if (line[0] == '/' && strchr(line, ' ') == NULL) {
        fprintf(stderr, "There is no command %s:\n", line);
        print_help();
    } else {
        reply(c, line);
    }
    return true;
}

static enum kl_status converse(struct chat *c, struct kl_error *err)
{
    char directory[PATH_MAX], real[PATH_MAX], history[PATH_MAX + 16];
    bool keep = kl_cache_prepare(NULL, directory, sizeof directory, NULL) == KL_OK &&
                realpath(directory, real) != NULL;
    snprintf(history, sizeof history, "%s/history", keep ? real : "");
    struct kl_line_editor *editor;
    enum kl_status status = kl_line_editor_open("> ", keep ? history : NULL, &editor, err);
    if (status != KL_OK)
        return status;
    fprintf(stderr, "%s. /help lists the commands; Ctrl-D exits.\n",
            kl_foreign_clean(c->loaded.location.name));
    for (;;) {
        const char *line;
        enum kl_line got = kl_line_editor_read(editor, &line);
        if (got == KL_LINE_END) {
            fputc('\n', stderr);
            break;
        }
        if (got == KL_LINE_TEXT && !handle_line(c, line))
            break;
    }
    kl_line_editor_close(editor);
    return KL_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Answers the prompt; NULL: holds a conversation. */
static int chat(const struct chat_options *o, const struct kl_buffer *prompt, struct kl_error *err)
{
    struct chat *c = calloc(1, sizeof *c);
    if (c == NULL) {
        kl_fail_memory(err, "a conversation", sizeof *c);
        return kl_report("chat", err);
    }
    c->options = o;
    if (kl_chat_rule(&o->rule, &c->rule, err) != KL_OK) {
        free(c);
        return kl_report("chat", err);
    }
    kl_output_init(&c->output);
    kl_buffer_init(&c->answer, MAX_TEXT);
    enum kl_status status = kl_load(&c->loaded, &o->load, KL_LOAD_MODEL, err);
    if (status == KL_OK && kl_load_only_embeds(&c->loaded)) {
        status = kl_fail(err, KL_ERR_UNSUPPORTED,
                         "%.200s is a model for embeddings, without a chat template: serve it, and "
                         "ask /v1/embeddings; or give --chat-template NAME",
                         c->loaded.location.name);
        kl_unload(&c->loaded);
    }
    if (status != KL_OK) {
        kl_rule_disown(c->rule);
        free(c);
        return kl_load_report("chat", err);
    }
    if (prompt == NULL)
        kl_interrupt_block(); /* before the engine starts threads, which inherit the mask */
    const struct kl_engine_choice choice = {.parallel = 1,
                                            .queue = 1,
                                            .draft_max = o->load.draft_max,
                                            .cache_ram = KL_DEFAULT_CACHE_RAM};
    const struct kl_engine_options options =
        kl_load_engine_options(&c->loaded, &choice, &c->loaded.plan);
    if (c->rule != NULL)
        status = kl_token_trie_open(c->loaded.tokenizer, &c->trie, err);
    if (c->trie != NULL)
        kl_plan_add(&c->loaded.plan, "the rule, and the trie of tokens",
                    c->rule->bytes + kl_token_trie_bytes(c->trie), NULL);
    if (status == KL_OK)
        status = kl_engine_open(c->loaded.model, c->loaded.tokenizer, &options, &c->engine, err);
    kl_load_log_plan(&c->loaded.plan, status != KL_OK);
    if (status == KL_OK)
        status = begin_conversation(c, err);
    if (status == KL_OK && prompt != NULL)
        status = add_message(c, "user", prompt->data, prompt->len, err);
    if (status == KL_OK)
        status = prompt != NULL ? answer(c, err) : converse(c, err);

    if (c->engine != NULL)
        kl_engine_close(c->engine);
    kl_rule_disown(c->rule);
    kl_token_trie_close(c->trie);
    while (c->n_messages > 0)
        drop_message(c);
    kl_buffer_release(&c->answer);
    kl_output_release(&c->output);
    kl_unload(&c->loaded);
    free(c);
    return status == KL_OK ? KL_EXIT_OK : kl_report("chat", err);
}

/* Line editing needs a UTF-8 locale; even a minimal system has C.UTF-8. */
static void set_locale(void)
{
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
}

static void add_options(struct kl_option_table *table, struct chat_options *o)
{
    const struct kl_option rows[] = {
        {"offline", 0, KL_OPTION_FLAG, NULL,
         "do not download the model if it is not on this computer", &o->offline, 0, 0},
        {"system", 's', KL_OPTION_STRING, "TEXT", "a system message instead of the model's own",
         &o->system, 0, 0},
        {"max-tokens", 'n', KL_OPTION_SIZE, "N", "longest answer, in tokens", &o->max_tokens, 1,
         KL_MAX_CTX_SIZE},
        {"temperature", 0, KL_OPTION_FLOAT, "T", "0: always the most likely token",
         &o->sampling.temperature, 0, 10},
        {"top-k", 0, KL_OPTION_SIZE, "N", "sample from the N most likely tokens; 0: from all",
         &o->top_k, 0, 1000000},
        {"top-p", 0, KL_OPTION_FLOAT, "P",
         "sample from the most likely tokens whose probabilities add up to P", &o->sampling.top_p,
         0.0001, 1},
        {"min-p", 0, KL_OPTION_FLOAT, "P",
         "exclude tokens less likely than P times the most likely one", &o->sampling.min_p, 0,
         0.9999},
        {"typical-p", 0, KL_OPTION_FLOAT, "P",
         "sample from the most typical tokens whose probabilities add up to P",
         &o->sampling.typical_p, 0.0001, 1},
        {"repetition-penalty", 0, KL_OPTION_FLOAT, "R",
         "above 1: avoid tokens that occurred before", &o->sampling.repetition_penalty, 0.01, 10},
        {"repeat-last-n", 0, KL_OPTION_SIZE, "N",
         "tokens that --repetition-penalty looks back at; 0: all", &o->repeat_last_n, 0,
         KL_MAX_CTX_SIZE},
        {"frequency-penalty", 0, KL_OPTION_FLOAT, "P",
         "above 0: avoid tokens by how often they occurred in the answer",
         &o->sampling.frequency_penalty, -2, 2},
        {"presence-penalty", 0, KL_OPTION_FLOAT, "P",
         "above 0: avoid tokens that occurred in the answer", &o->sampling.presence_penalty, -2, 2},
        {"dry-multiplier", 0, KL_OPTION_FLOAT, "M",
         "above 0: avoid tokens that would go on with a repetition (DRY; 0.8 is usual)",
         &o->sampling.dry.multiplier, 0, 100},
        {"dry-base", 0, KL_OPTION_FLOAT, "B", "how fast that grows with its length",
         &o->sampling.dry.base, 1, 100},
        {"ignore-eos", 0, KL_OPTION_FLAG, NULL, "do not end the answer before --max-tokens",
         &o->sampling.ignore_eos, 0, 0},
        {"schema", 0, KL_OPTION_STRING, "FILE",
         "the answer is JSON that the JSON schema in FILE allows", &o->rule.schema, 0, 0},
        {"grammar", 0, KL_OPTION_STRING, "FILE",
         "the answer is a text of the grammar in FILE (GBNF, as for llama.cpp)", &o->rule.grammar,
         0, 0},
        {"regex", 0, KL_OPTION_STRING, "RE", "the whole answer matches the regular expression RE",
         &o->rule.regex, 0, 0},
        {"loop-guard", 0, KL_OPTION_SWITCH, "on|off", "end an answer that only repeats itself",
         &o->loop_guard, 0, 0},
        {"seed", 0, KL_OPTION_U64, "N",
         "seed of the random numbers: the same seed gives the same answer", &o->sampling.seed, 0,
         0},
        {"no-input", 0, KL_OPTION_FLAG, NULL,
         "with PROMPT: do not read standard input, as in a loop that reads it: while read q; do "
         "kinglet chat --no-input \"$q\"; done",
         &o->no_input, 0, 0},
    };
    kl_load_add_options(table, &o->load);
    kl_load_add_memory_option(table, &o->load);
    kl_load_add_draft_option(table, &o->load);
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_chat(int argc, char **argv)
{
    struct chat_options o = {.load = {.ctx_size = 4096, .draft_max = KL_DEFAULT_DRAFT_MAX},
                             .max_tokens = 1024,
                             .sampling = {.top_p = 1, .typical_p = 1, .repetition_penalty = 1}};
    struct kl_option_table table = {0};
    kl_dry_defaults(&o.sampling.dry);
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "chat",
        .arguments = "[PROMPT...]",
        .max_arguments = 4096,
        .about = "Answers PROMPT and prints the answer while it is computed. Text from a pipe, or "
                 "from a file as standard input, is put before PROMPT, or is the prompt itself: "
                 "cat FILE | kinglet chat \"What is this?\". On a terminal without PROMPT it "
                 "starts a conversation. The answer goes to standard output, its speed to standard "
                 "error. On a terminal, U+FFFD replaces characters that would control it; pipes "
                 "and files receive the bytes unchanged.",
        .options = table.rows,
        .n_options = table.n,
        .notes = "In a conversation: /clear, /exit, /help; Ctrl-C stops the answer, Ctrl-D "
                 "exits.\nLines that were typed are kept in $XDG_CACHE_HOME/kinglet/history.",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    set_locale();
    o.load.pull = !o.offline;
    o.load.measure_threads = true;
    o.sampling.top_k = (uint32_t)o.top_k;
    o.sampling.repetition_window = (uint32_t)o.repeat_last_n;
    struct kl_buffer prompt;
    bool conversation;
    kl_buffer_init(&prompt, MAX_TEXT);
    if (kl_chat_prompt_read(argv + 1, n, o.no_input, &prompt, &conversation, &err) == KL_OK)
        code = chat(&o, conversation ? NULL : &prompt, &err);
    else
        code = kl_report("chat", &err);
    kl_buffer_release(&prompt);
    return code;
}

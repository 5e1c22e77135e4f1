/* kinglet tokenize: text to token ids or pieces, and ids back to text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/foreign_text.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "console/input.h"
#include "console/options.h"
#include "console/terminal.h"
#include "load/load.h"
#include "load/token_ids.h"

struct tokenize_options {
    struct kl_load_options load;
    bool ids, decode, special;
    size_t time; /* number of runs to time; 0: print the tokens */
};

/* Unsafe or invisible on a terminal: direction marks, joiners, blanks of no width. */
static bool is_invisible(uint32_t c)
{
    return kl_foreign_unsafe(c) || c == 0x61c || (c >= 0x200b && c <= 0x200f) || c == 0xfeff;
}

/* Prints a token so that it stays on one line and every byte is visible. */
static void print_escaped(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t code_point;
        bool valid;
        size_t n = kl_utf8_decode(text + i, len - i, &code_point, &valid);
        if (text[i] == '\n')
            fputs("\\n", stdout);
        else if (text[i] == '\r')
            fputs("\\r", stdout);
        else if (text[i] == '\t')
            fputs("\\t", stdout);
        else if (text[i] == '\\')
            fputs("\\\\", stdout);
        else if (!valid || is_invisible(code_point))
            for (size_t j = 0; j < n; j++)
                printf("\\x%02x", (unsigned char)text[i + j]);
        else
            fwrite(text + i, 1, n, stdout);
        i += n;
    }
}

static void print_ids(const struct kl_tokens *tokens)
{
    for (size_t i = 0; i < tokens->len; i++)
        printf("%s%" PRId32, i > 0 ? " " : "", tokens->ids[i]);
    putchar('\n');
}

static void print_pieces(const struct kl_tokenizer *tokenizer, const struct kl_tokens *tokens)
{
    for (size_t i = 0; i < tokens->len; i++) {
        size_t len;
        const char *piece = kl_tokenizer_piece(tokenizer, tokens->ids[i], &len);
        printf("%" PRId32 "\t", tokens->ids[i]);
        print_escaped(piece, len);
        putchar('\n');
    }
}

static enum kl_status encode(const struct kl_tokenizer *tokenizer, const struct tokenize_options *o,
                             const struct kl_buffer *input, struct kl_error *err)
{
    struct kl_tokens tokens = {0};
    const struct kl_span span = {.text = input->data, .len = input->len, .special = o->special};
    enum kl_status status = kl_tokenizer_encode(tokenizer, &span, 1, &tokens, err);
    if (status == KL_OK && o->ids)
        print_ids(&tokens);
    else if (status == KL_OK)
        print_pieces(tokenizer, &tokens);
    kl_tokens_release(&tokens);
    return status;
}

/* Prints the seconds of each run and nothing else, for bench/tokenizer. */
static enum kl_status time_encoding(const struct kl_tokenizer *tokenizer,
                                    const struct tokenize_options *o, const struct kl_buffer *input,
                                    struct kl_error *err)
{
    struct kl_tokens tokens = {0};
    const struct kl_span span = {.text = input->data, .len = input->len, .special = o->special};
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < o->time && status == KL_OK; i++) {
        tokens.len = 0;
        uint64_t start = kl_now_ns();
        status = kl_tokenizer_encode(tokenizer, &span, 1, &tokens, err);
        if (status == KL_OK)
            printf("%.6f\n", kl_seconds_since(start));
    }
    kl_tokens_release(&tokens);
    return status;
}

/* Prints the bytes of the tokens unchanged, control tokens too: the inverse of encode with
 * --special. */
static enum kl_status decode(const struct kl_tokenizer *tokenizer, const struct kl_buffer *input,
                             struct kl_error *err)
{
    struct kl_tokens tokens = {0};
    struct kl_output output;
    kl_output_init(&output);
    enum kl_status status =
        kl_token_ids_parse(input->data, kl_tokenizer_size(tokenizer), &tokens, err);
    for (size_t i = 0; i < tokens.len && status == KL_OK; i++) {
        size_t len;
        const char *piece = kl_tokenizer_piece(tokenizer, tokens.ids[i], &len);
        status = kl_output_write(&output, piece, len, err);
    }
    if (status == KL_OK)
        status = kl_output_end(&output, err);
    kl_output_release(&output);
    kl_tokens_release(&tokens);
    return status;
}

static void add_options(struct kl_option_table *table, struct tokenize_options *o)
{
    const struct kl_option rows[] = {
        {"ids", 'i', KL_OPTION_FLAG, NULL,
         "only the ids, on one line, separated by blanks (otherwise one token a line: the id, a "
         "tab, the text with \\n, \\t, \\\\ and \\xNN)",
         &o->ids, 0, 0},
        {"decode", 'd', KL_OPTION_FLAG, NULL,
         "convert ids, separated by blanks or line ends, back to text", &o->decode, 0, 0},
        {"special", 0, KL_OPTION_FLAG, NULL,
         "recognise special tokens such as \"<|im_start|>\" in the text", &o->special, 0, 0},
        {"time", 0, KL_OPTION_SIZE, "N", "tokenize N times and print only the seconds of each run",
         &o->time, 1, 1000},
    };
    kl_load_add_model_option(table, &o->load);
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_tokenize(int argc, char **argv)
{
    struct tokenize_options o = {0};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "tokenize",
        .arguments = "[FILE]",
        .max_arguments = 1,
        .about = "Shows how the model's tokenizer splits the text of FILE, or of standard input.",
        .options = table.rows,
        .n_options = table.n,
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    struct kl_buffer input;
    struct kl_loaded loaded;
    kl_buffer_init(&input, KL_INPUT_CAP);
    enum kl_status status =
        (o.decode ? kl_read_text : kl_read_input)(n > 0 ? argv[1] : NULL, &input, &err);
    if (status != KL_OK) {
        code = kl_report("tokenize", &err);
    } else if (kl_load(&loaded, &o.load, KL_LOAD_TOKENIZER, &err) != KL_OK) {
        code = kl_load_report("tokenize", &err);
    } else {
        status = o.decode     ? decode(loaded.tokenizer, &input, &err)
                 : o.time > 0 ? time_encoding(loaded.tokenizer, &o, &input, &err)
                              : encode(loaded.tokenizer, &o, &input, &err);
        code = status == KL_OK ? KL_EXIT_OK : kl_report("tokenize", &err);
        kl_unload(&loaded);
    }
    kl_buffer_release(&input);
    return code;
}

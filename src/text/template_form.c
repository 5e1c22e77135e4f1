#include "text/template_form.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* In one tag; the known templates have at most 60. */
#define MAX_TOKENS 512
enum token_kind { NAME, NUMBER, STRING, OPERATOR };

struct token {
    enum token_kind kind;
    const char *text; /* of a STRING: what is between the quotes */
    size_t len;
};

struct former {
    const char *at, *end;
    bool line_starts;         /* nothing but a newline, or nothing, is before at */
    struct kl_buffer literal; /* text that is put out, not yet written down */
    struct kl_buffer *out;
    struct token tokens[MAX_TOKENS];
    size_t n_tokens;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_in_name(char c)
{
    return begins_name(c) || is_digit(c);
}

static bool token_is(const struct token *t, enum token_kind kind, const char *text)
{
    return t->kind == kind && t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

/* ---- writing down ---- */

/* A record is a letter, its length where it is text, and its content: no two forms look alike. */
static enum kl_status flush_literal(struct former *f)
{
    if (f->literal.len == 0)
        return KL_OK;
    enum kl_status status = kl_buffer_append_format(f->out, "T%zu:", f->literal.len);
    if (status == KL_OK)
        status = kl_buffer_append(f->out, f->literal.data, f->literal.len);
    if (status == KL_OK)
        status = kl_buffer_append(f->out, "\n", 1);
    kl_buffer_clear(&f->literal);
    return status;
}

/* The value of a string literal, with its escapes resolved; they were checked before. */
static enum kl_status append_unescaped(struct kl_buffer *b, const struct token *t)
{
    static const char from[] = "nrt", to[] = "\n\r\t";
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < t->len && status == KL_OK; i++) {
        char c = t->text[i];
        if (c == '\\') {
            c = t->text[++i];
            const char *escape = strchr(from, c);
            c = escape != NULL ? to[escape - from] : c;
        }
        status = kl_buffer_append(b, &c, 1);
    }
    return status;
}

static enum kl_status write_string(struct former *f, const struct token *t)
{
    size_t escapes = 0;
    for (size_t i = 0; i < t->len; i++) {
        if (t->text[i] == '\\') {
            escapes++;
            i++;
        }
    }
    enum kl_status status = kl_buffer_append_format(f->out, " '%zu:", t->len - escapes);
    return status == KL_OK ? append_unescaped(f->out, t) : status;
}

static bool is_keyword(const struct token *t)
{
    static const char *const words[] = {"if",  "else", "elif", "and", "or",
                                        "not", "in",   "is",   "for", "set"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (token_is(t, NAME, words[i]))
            return true;
    }
    return false;
}

/* Does ['x'] begin at token i, where it says .x? */
static bool is_attribute(const struct former *f, size_t i, size_t end)
{
    if (i == 0 || i + 3 > end || !token_is(&f->tokens[i], OPERATOR, "[") ||
        f->tokens[i + 1].kind != STRING || !token_is(&f->tokens[i + 2], OPERATOR, "]"))
        return false;
    const struct token *before = &f->tokens[i - 1], *name = &f->tokens[i + 1];
    if (is_keyword(before) || before->kind == NUMBER ||
        (before->kind == OPERATOR && before->text[0] != ')' && before->text[0] != ']'))
        return false; /* it is a list of one string */
    bool valid = name->len > 0 && begins_name(name->text[0]);
    for (size_t k = 0; k < name->len && valid; k++)
        valid = is_in_name(name->text[k]);
    return valid;
}

/* True and true are the same, but behind "is" (or "is not") they would be names of tests, of which
 * there are only the small ones. */
static bool is_capital(const struct former *f, size_t i)
{
    static const char *const capitals[] = {"True", "False", "None"};
    bool found = false;
    for (size_t k = 0; k < 3; k++)
        found = found || token_is(&f->tokens[i], NAME, capitals[k]);
    return found && (i == 0 || !(token_is(&f->tokens[i - 1], NAME, "is") ||
                                 token_is(&f->tokens[i - 1], NAME, "not")));
}

static enum kl_status write_word(struct former *f, const struct token *t, bool capital)
{
    enum kl_status status = kl_buffer_append(f->out, " ", 1);
    if (status == KL_OK)
        status = kl_buffer_append(f->out, t->text, t->len);
    if (status == KL_OK && capital)
        f->out->data[f->out->len - t->len] |= 0x20;
    return status;
}

static enum kl_status write_tokens(struct former *f, char letter, size_t begin, size_t end)
{
    enum kl_status status = flush_literal(f);
    if (status == KL_OK)
        status = kl_buffer_append(f->out, &letter, 1);
    for (size_t i = begin; i < end && status == KL_OK; i++) {
        const struct token *t = &f->tokens[i];
        if (is_attribute(f, i, end)) {
            struct token name = {NAME, t[1].text, t[1].len};
            status = kl_buffer_append(f->out, " .", 2);
            if (status == KL_OK)
                status = write_word(f, &name, false);
            i += 2;
        } else if (t->kind == STRING) {
            status = write_string(f, t);
        } else {
            status = write_word(f, t, is_capital(f, i));
        }
    }
    return status == KL_OK ? kl_buffer_append(f->out, "\n", 1) : status;
}

/* ---- tags ---- */

/* How far tokens of an operator go in or out of brackets. */
static int nesting(const struct token *t)
{
    if (t->kind != OPERATOR)
        return 0;
    if (strchr("([{", t->text[0]) != NULL)
        return 1;
    return strchr(")]}", t->text[0]) != NULL ? -1 : 0;
}

/* {{ a + b }} is {{ a }}{{ b }} where nothing outside of brackets binds looser than +, and there is
 * no number: what is added then is text. */
static bool is_chain_of_texts(const struct former *f)
{
    int depth = 0;
    bool operand = false;
    for (size_t i = 0; i < f->n_tokens; i++) {
        const struct token *t = &f->tokens[i];
        int step = nesting(t);
        bool outside = depth == 0 && step == 0;
        depth += step;
        if (!outside) {
            operand = true;
            continue;
        }
        if (t->kind == NUMBER || is_keyword(t))
            return false;
        bool plus = token_is(t, OPERATOR, "+");
        if (t->kind == OPERATOR && !plus && t->text[0] != '.' && t->text[0] != '|')
            return false;
        if (plus && !operand)
            return false;
        operand = !plus;
    }
    return operand;
}

static enum kl_status put_out(struct former *f, size_t begin, size_t end)
{
    if (end - begin == 1 && f->tokens[begin].kind == STRING)
        return append_unescaped(&f->literal, &f->tokens[begin]);
    return write_tokens(f, 'E', begin, end);
}

static enum kl_status write_output(struct former *f)
{
    if (!is_chain_of_texts(f))
        return write_tokens(f, 'E', 0, f->n_tokens);
    enum kl_status status = KL_OK;
    size_t begin = 0;
    int depth = 0;
    for (size_t i = 0; i <= f->n_tokens && status == KL_OK; i++) {
        if (i == f->n_tokens || (depth == 0 && token_is(&f->tokens[i], OPERATOR, "+"))) {
            status = put_out(f, begin, i);
            begin = i + 1;
        } else {
            depth += nesting(&f->tokens[i]);
        }
    }
    return status;
}

/* A string with only such escapes as are read here. */
static bool read_string(struct former *f, struct token *t)
{
    char quote = *f->at++;
    t->kind = STRING;
    t->text = f->at;
    for (; f->at < f->end && *f->at != quote; f->at++) {
        if (*f->at == '\\' &&
            (++f->at == f->end || *f->at == '\0' || strchr("nrt\\'\"", *f->at) == NULL))
            return false;
    }
    t->len = (size_t)(f->at - t->text);
    if (f->at == f->end)
        return false;
    f->at++;
    return true;
}

static bool read_token(struct former *f, struct token *t)
{
    static const char operators[] = "+-*/%~=!<>.,:;|()[]{}";
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
    char c = *f->at;
    if (c == '\'' || c == '"')
        return read_string(f, t);
    t->text = f->at;
    t->len = 1;
    if (is_in_name(c)) {
        t->kind = is_digit(c) ? NUMBER : NAME;
        while (++f->at < f->end && is_in_name(*f->at))
            continue;
        t->len = (size_t)(f->at - t->text);
        return true;
    }
    if (c == '\0' || strchr(operators, c) == NULL)
        return false;
    t->kind = OPERATOR;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs && t->len == 1; i++) {
        if (f->end - f->at >= 2 && memcmp(f->at, pairs[i], 2) == 0)
            t->len = 2;
    }
    f->at += t->len;
    return true;
}

static void skip_space(struct former *f)
{
    while (f->at < f->end && is_space(*f->at))
        f->at++;
}

/* Goes behind the end of a tag, which is "}}", "%}" or "#}", if it is here. */
static bool take_end(struct former *f, const char *mark)
{
    size_t left = (size_t)(f->end - f->at);
    bool sign = left > 2 && (f->at[0] == '-' || (f->at[0] == '+' && mark[0] != '}'));
    bool trims = sign && f->at[0] == '-';
    if (left < 2u + sign || memcmp(f->at + sign, mark, 2) != 0)
        return false;
    f->at += 2 + sign;
    if (trims)
        skip_space(f);
    else if (!sign && mark[0] != '}' && f->at < f->end && *f->at == '\n')
        f->at++;
    f->line_starts = f->at[-1] == '\n';
    return true;
}

/* The tokens of a tag up to and with its end. */
static bool read_tag(struct former *f, const char *mark)
{
    int depth = 0;
    f->n_tokens = 0;
    for (;;) {
        if (depth == 0 && take_end(f, mark))
            return true;
        if (f->at == f->end)
            return false;
        if (is_space(*f->at)) {
            f->at++;
            continue;
        }
        struct token *t = &f->tokens[f->n_tokens];
        if (f->n_tokens == MAX_TOKENS || !read_token(f, t))
            return false;
        depth += nesting(t);
        if (depth < 0)
            return false;
        f->n_tokens++;
    }
}

static bool skip_comment(struct former *f)
{
    for (; f->at < f->end; f->at++) {
        if (take_end(f, "#}"))
            return true;
    }
    return false;
}

/* The text up to the next tag, without what the tag takes away from it. */
static enum kl_status read_text(struct former *f)
{
    const char *begin = f->at, *tag = begin;
    while ((tag = memchr(tag, '{', (size_t)(f->end - tag))) != NULL &&
           (f->end - tag < 2 || (tag[1] != '{' && tag[1] != '%' && tag[1] != '#')))
        tag++;
    f->at = tag != NULL ? tag : f->end;
    const char *end = f->at;
    char sign = tag != NULL && f->end - tag > 2 ? tag[2] : '\0';
    if (sign == '-') {
        while (end > begin && is_space(end[-1]))
            end--;
    } else if (tag != NULL && sign != '+' && tag[1] != '{') {
        const char *line = end;
        while (line > begin && is_space(line[-1]) && line[-1] != '\n')
            line--;
        if (line > begin ? line[-1] == '\n' : f->line_starts)
            end = line;
    }
    f->line_starts = false;
    return kl_buffer_append(&f->literal, begin, (size_t)(end - begin));
}

static enum kl_status read_next_tag(struct former *f)
{
    char kind = f->at[1];
    f->at += 2;
    if (f->at < f->end && (*f->at == '-' || *f->at == '+'))
        f->at++;
    if (kind == '#')
        return skip_comment(f) ? KL_OK : KL_ERR_UNSUPPORTED;
    if (!read_tag(f, kind == '{' ? "}}" : "%}") || f->n_tokens == 0)
        return KL_ERR_UNSUPPORTED;
    if (kind == '{')
        return write_output(f);
    /* what is between raw and endraw is no template */
    return token_is(&f->tokens[0], NAME, "raw") ? KL_ERR_UNSUPPORTED
                                                : write_tokens(f, 'S', 0, f->n_tokens);
}

/* As Jinja2 reads a file: every newline is \n, and one at the end is left out. */
static size_t copy_lines(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
            continue;
        out[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    return n > 0 && out[n - 1] == '\n' ? n - 1 : n;
}

enum kl_status kl_template_form(const char *text, size_t len, struct kl_buffer *out)
{
    if (len > KL_TEMPLATE_MAX_BYTES)
        return KL_ERR_UNSUPPORTED;
    char *source = malloc(len + 1);
    struct former *f = calloc(1, sizeof *f);
    enum kl_status status = source != NULL && f != NULL ? KL_OK : KL_ERR_MEMORY;
    if (status == KL_OK) {
        f->at = source;
        f->end = source + copy_lines(text, len, source);
        f->line_starts = true;
        f->out = out;
        kl_buffer_init(&f->literal, KL_TEMPLATE_MAX_BYTES);
        while (f->at < f->end && status == KL_OK) {
            status = read_text(f);
            if (status == KL_OK && f->at < f->end)
                status = read_next_tag(f);
        }
        if (status == KL_OK)
            status = flush_literal(f);
        kl_buffer_release(&f->literal);
    }
    free(f);
    free(source);
    return status;
}

#include "console/options.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "console/exit_codes.h"
#include "console/nearest.h"

#define HELP_CAP    (64 * 1024)
#define HELP_COLUMN 28 /* first column of the explanations */
#define HELP_WIDTH  80

void kl_options_add(struct kl_option_table *table, const struct kl_option *rows, size_t n)
{
    assert(n <= KL_MAX_OPTIONS - table->n);
    memcpy(table->rows + table->n, rows, n * sizeof rows[0]);
    table->n += n;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool parse_u64(const char *text, const char **end, uint64_t *out)
{
    if (*text < '0' || *text > '9') /* strtoull would take "-1" and " 1" */
        return false;
    char *stop;
    errno = 0;
    *out = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

/* Multiplies *n by a unit: "K", "M", "G", also as "MB" and "MiB", all powers of 1024; or none. */
static bool scale_bytes(const char *unit, uint64_t *n)
{
    static const char letters[] = "KMG";
    const char *letter = *unit != '\0' ? strchr(letters, *unit & ~0x20) : letters + 3;
    if (letter == NULL)
        return false;
    const char *rest = *unit != '\0' ? unit + 1 : unit;
    if (*rest != '\0' && strcmp(rest, "B") != 0 && strcmp(rest, "iB") != 0)
        return false;
    unsigned shift = *unit != '\0' ? 10 * (unsigned)(letter - letters + 1) : 0;
    if (*n > UINT64_MAX >> shift)
        return false;
    *n <<= shift;
    return true;
}

static enum kl_status set_list(const struct kl_option *o, const char *text, struct kl_error *err)
{
    struct kl_size_list list = {0};
    for (const char *at = text;; at++) {
        uint64_t n;
        bool ok = parse_u64(at, &at, &n) && (*at == ',' || *at == '\0');
        if (!ok || (double)n < o->low || (double)n > o->high)
            return kl_fail(err, KL_ERR_INVALID,
                           "--%s takes whole numbers from %.0f to %.0f, separated by commas, "
                           "not \"%s\"",
                           o->name, o->low, o->high, text);
        if (list.len == KL_MAX_LIST)
            return kl_fail(err, KL_ERR_INVALID, "--%s takes at most %d numbers", o->name,
                           KL_MAX_LIST);
        list.values[list.len++] = (size_t)n;
        if (*at == '\0')
            break;
    }
    *(struct kl_size_list *)o->value = list;
    return KL_OK;
}

static enum kl_status set_value(const struct kl_option *o, const char *text, struct kl_error *err)
{
    const char *end = text;
    uint64_t n = 0;
    switch (o->type) {
    case KL_OPTION_FLAG:
        *(bool *)o->value = true;
        return KL_OK;
    case KL_OPTION_SWITCH:
        if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
            return kl_fail(err, KL_ERR_INVALID, "--%s takes on or off, not \"%s\"", o->name, text);
        *(bool *)o->value = strcmp(text, "on") == 0;
        return KL_OK;
    case KL_OPTION_STRING:
        *(const char **)o->value = text;
        return KL_OK;
    case KL_OPTION_SIZE:
        if (!parse_u64(text, &end, &n) || *end != '\0' || (double)n < o->low || (double)n > o->high)
            return kl_fail(err, KL_ERR_INVALID,
                           "--%s takes a whole number from %.0f to %.0f, not \"%s\"", o->name,
                           o->low, o->high, text);
        *(size_t *)o->value = (size_t)n;
        return KL_OK;
    case KL_OPTION_U64:
        if (!parse_u64(text, &end, &n) || *end != '\0')
            return kl_fail(err, KL_ERR_INVALID,
                           "--%s takes a whole number from 0 to %" PRIu64 ", not \"%s\"", o->name,
                           UINT64_MAX, text);
        *(uint64_t *)o->value = n;
        return KL_OK;
    case KL_OPTION_BYTES:
        if (!parse_u64(text, &end, &n) || !scale_bytes(end, &n) || (double)n < o->low ||
            (double)n > o->high)
            return kl_fail(err, KL_ERR_INVALID,
                           "--%s takes a number of bytes such as 512M or 2G, not \"%s\"", o->name,
                           text);
        *(uint64_t *)o->value = n;
        return KL_OK;
    case KL_OPTION_FLOAT: {
        char *stop;
        double x = strtod(text, &stop);
        if (stop == text || *stop != '\0' || !isfinite(x) || x < o->low || x > o->high)
            return kl_fail(err, KL_ERR_INVALID, "--%s takes a number from %g to %g, not \"%s\"",
                           o->name, o->low, o->high, text);
        *(float *)o->value = (float)x;
        return KL_OK;
    }
    case KL_OPTION_STRINGS: {
        struct kl_string_list *list = o->value;
        if (list->len == KL_MAX_LIST)
            return kl_fail(err, KL_ERR_INVALID, "--%s may be given at most %d times", o->name,
                           KL_MAX_LIST);
        list->values[list->len++] = text;
        return KL_OK;
    }
    case KL_OPTION_LIST:
        return set_list(o, text, err);
    }
    return KL_OK;
}

/* ---- parsing --------------------------------------------------------------------------------- */

static const struct kl_option *find_long(const struct kl_command_line *line, const char *name,
                                         size_t len)
{
    for (size_t i = 0; i < line->n_options; i++) {
        const struct kl_option *o = &line->options[i];
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

static const struct kl_option *find_letter(const struct kl_command_line *line, char letter)
{
    for (size_t i = 0; i < line->n_options; i++) {
        if (line->options[i].letter == letter)
            return &line->options[i];
    }
    return NULL;
}

static enum kl_status fail_unknown(const struct kl_command_line *line, const char *word,
                                   struct kl_error *err)
{
    char name[64];
    const char *start = word + strspn(word, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(start, "="), start);
    struct kl_nearest nearest;
    kl_nearest_init(&nearest, name);
    for (size_t i = 0; i < line->n_options; i++)
        kl_nearest_consider(&nearest, line->options[i].name);
    if (nearest.best != NULL)
        return kl_fail(err, KL_ERR_INVALID, "unknown option %s; did you mean --%s?", word,
                       nearest.best);
    return kl_fail(err, KL_ERR_INVALID, "unknown option %s", word);
}

/* Parses the option at argv[*i], which may use argv[*i + 1] too. */
static enum kl_status parse_option(const struct kl_command_line *line, int argc, char **argv,
                                   int *i, struct kl_error *err)
{
    const char *word = argv[*i];
    const struct kl_option *o;
    const char *value = NULL;
    if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");
        o = find_long(line, word + 2, len);
        if (word[2 + len] == '=')
            value = word + 2 + len + 1;
    } else {
        o = find_letter(line, word[1]);
        if (word[2] != '\0')
            value = word + 2;
    }
    if (o == NULL)
        return fail_unknown(line, word, err);
    if (o->type == KL_OPTION_FLAG) {
        if (value != NULL)
            return kl_fail(err, KL_ERR_INVALID, "--%s takes no value, but was given \"%s\"",
                           o->name, value);
        return set_value(o, NULL, err);
    }
    if (value == NULL) {
        if (*i + 1 >= argc)
            return kl_fail(err, KL_ERR_INVALID, "--%s needs a value: --%s %s", o->name, o->name,
                           o->argument);
        value = argv[++*i];
    }
    return set_value(o, value, err);
}

enum kl_status kl_options_parse(const struct kl_command_line *line, int argc, char **argv,
                                size_t *n_arguments, struct kl_error *err)
{
    bool only_arguments = false;
    *n_arguments = 0;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!only_arguments && strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && word[0] == '-' && word[1] != '\0') {
            enum kl_status status = parse_option(line, argc, argv, &i, err);
            if (status != KL_OK)
                return status;
        } else {
            if (*n_arguments == line->max_arguments)
                return kl_fail(err, KL_ERR_INVALID, "unexpected argument \"%s\"", word);
            argv[++*n_arguments] = word; /* never ahead of i */
        }
    }
    return KL_OK;
}

/* ---- help ------------------------------------------------------------------------------------ */

/* Formats " (default 4096)"; nothing for a flag, a NULL string or the number 0. */
static void format_default(const struct kl_option *o, char *out, size_t size)
{
    out[0] = '\0';
    if (o->type == KL_OPTION_SWITCH)
        snprintf(out, size, " (default %s)", *(bool *)o->value ? "on" : "off");
    if (o->type == KL_OPTION_STRING && *(const char **)o->value != NULL)
        snprintf(out, size, " (default %s)", *(const char **)o->value);
    if (o->type == KL_OPTION_SIZE && *(size_t *)o->value != 0)
        snprintf(out, size, " (default %zu)", *(size_t *)o->value);
    if (o->type == KL_OPTION_FLOAT)
        snprintf(out, size, " (default %g)", (double)*(float *)o->value);
    if (o->type != KL_OPTION_LIST)
        return;
    const struct kl_size_list *list = o->value;
    size_t used = (size_t)snprintf(out, size, " (default ");
    for (size_t i = 0; i < list->len && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%zu", i > 0 ? "," : "", list->values[i]);
    if (used < size)
        snprintf(out + used, size - used, ")");
}

static void help_option(const struct kl_option *o, struct kl_printer *out)
{
    char left[80], right[512], value[128];
    int used = o->letter != 0 ? snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name)
                              : snprintf(left, sizeof left, "      --%s", o->name);
    if (o->argument != NULL)
        snprintf(left + used, sizeof left - (size_t)used, " %s", o->argument);
    format_default(o, value, sizeof value);
    snprintf(right, sizeof right, "%s%s", o->help, value);

    size_t len = strlen(left);
    if (len + 2 > HELP_COLUMN)
        kl_print(out, "%s\n%*s", left, HELP_COLUMN, "");
    else
        kl_print(out, "%-*s", HELP_COLUMN, left);
    kl_print_words(out, right, HELP_COLUMN, HELP_WIDTH);
}

void kl_options_help(const struct kl_command_line *line, struct kl_printer *out)
{
    kl_print(out, "Usage: kinglet %s [OPTIONS]%s%s\n\n", line->command,
             line->arguments != NULL ? " " : "", line->arguments != NULL ? line->arguments : "");
    kl_print_words(out, line->about, 0, HELP_WIDTH);
    kl_print(out, "\nOptions:\n");
    for (size_t i = 0; i < line->n_options; i++)
        help_option(&line->options[i], out);
    if (line->notes != NULL)
        kl_print(out, "\n%s\n", line->notes);
    char codes[300];
    snprintf(codes, sizeof codes,
             "Exit codes: %s, 3 the model is not available, 4 a file was truncated, or its disk "
             "failed, while in use%s%s.",
             line->exit_codes != NULL ? line->exit_codes : "0 success, 1 failure, 2 wrong usage",
             line->further_exit_codes != NULL ? ", " : "",
             line->further_exit_codes != NULL ? line->further_exit_codes : "");
    kl_print(out, "\n");
    kl_print_words(out, codes, 0, HELP_WIDTH);
}

/* ---- beginning a command -----------------------------------------------------------------------
 */

static bool asks_for(int argc, char **argv, const char *name, const char *letter)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], name) == 0 || strcmp(argv[i], letter) == 0)
            return true;
    }
    return false;
}

/* The source of the log level, for kl_log_level_reload; strings of argv and the environment. */
static const char *log_level_source, *log_level_name;

/* A name with a slash is a file that contains the level, so that it can be changed while the
 * program runs. */
static enum kl_status set_log_level(struct kl_error *err)
{
    char content[64] = "";
    const char *name = log_level_name;
    if (strchr(name, '/') != NULL) {
        FILE *file = fopen(name, "re");
        if (file == NULL)
            return kl_fail_errno(err, "%s: cannot open %s", log_level_source, name);
        char *line = fgets(content, sizeof content, file);
        fclose(file);
        content[line != NULL ? strcspn(content, " \t\r\n") : 0] = '\0';
        name = content;
    }
    enum kl_log_level level;
    if (!kl_log_parse_level(name, &level))
        return kl_fail(err, KL_ERR_INVALID,
                       "%s takes debug, info, warning or error, or a file (with a / in its name) "
                       "that contains one of these, not \"%s\"",
                       log_level_source, name);
    kl_log_set_level(level);
    return KL_OK;
}

enum kl_status kl_log_level_reload(struct kl_error *err)
{
    return set_log_level(err);
}

static enum kl_status choose_log_level(const char *option, const char *fallback,
                                       struct kl_error *err)
{
    const char *variable = getenv("LOG_LEVEL");
    log_level_name = fallback;
    log_level_source = "";
    if (variable != NULL && variable[0] != '\0') {
        log_level_name = variable;
        log_level_source = "the environment variable LOG_LEVEL";
    }
    if (option != NULL) {
        log_level_name = option;
        log_level_source = "--log-level";
    }
    return set_log_level(err);
}

static bool answer_help(const struct kl_command_line *line)
{
    struct kl_printer out;
    kl_printer_init(&out, HELP_CAP);
    kl_options_help(line, &out);
    enum kl_status status = kl_printer_write(&out, stdout, "the help", NULL);
    kl_printer_release(&out);
    return status == KL_OK;
}

bool kl_command_line_read(const struct kl_command_line *line, int argc, char **argv,
                          const char *level, size_t *n_arguments, int *exit_code)
{
    /* rows that every command has, after its own */
    const char *log_level = NULL;
    bool flag = false;
    const struct kl_option common[] = {
        {"log-level", 0, KL_OPTION_STRING, "LEVEL",
         "debug, info, warning, error, or a FILE (with a / in its name) that contains one of "
         "these; the environment variable LOG_LEVEL sets it too",
         &log_level, 0, 0},
        {"help", 'h', KL_OPTION_FLAG, NULL, "show this help", &flag, 0, 0},
        {"version", 0, KL_OPTION_FLAG, NULL, "show the version", &flag, 0, 0},
    };
    struct kl_option_table all = {0};
    kl_options_add(&all, line->options, line->n_options);
    kl_options_add(&all, common, sizeof common / sizeof common[0]);
    struct kl_command_line full = *line;
    full.options = all.rows;
    full.n_options = all.n;

    /* before parsing, so that --help shows the defaults and works in spite of mistakes */
    if (asks_for(argc, argv, "--help", "-h")) {
        *exit_code = answer_help(&full) ? KL_EXIT_OK : KL_EXIT_FAILURE;
        return false;
    }
    if (asks_for(argc, argv, "--version", "--version")) {
        printf("kinglet %s\n", KL_VERSION);
        *exit_code = KL_EXIT_OK;
        return false;
    }
    struct kl_error err = {0};
    if (kl_options_parse(&full, argc, argv, n_arguments, &err) != KL_OK ||
        choose_log_level(log_level, level, &err) != KL_OK) {
        *exit_code = kl_report(line->command, &err);
        return false;
    }
    return true;
}

#include "service/late_lines.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "grammar/regex.h"
#include "grammar/regex_posix.h"

/* Positions of the automaton; a pattern for lines has some hundred. */
#define MAX_POSITIONS 4096
/* Work for new states that one request may cause: some 5 ms, and 2 MB. */
#define MAX_WORK ((uint64_t)1 << 18)

struct kl_late_lines {
    struct kl_regex *regex;
    struct kl_regex_run *run; /* keeps its states from request to request; NULL: none yet */
    uint64_t work_left;       /* of a request */
    bool warned;
};

/* The lines of Home Assistant that change: homeassistant/helpers/llm.py writes the time (up to 2025
 * as the first line, now behind the instructions, unless there is a tool for it) and the area of
 * the device that listens. Also the usual beginnings in prompts that people write. */
static const struct {
    const char *name, *pattern;
} presets[] = {
    {"home-assistant",
     "^([Tt]he )?[Cc]urrent ([Dd]ate|[Tt]ime|[Dd]ate and [Tt]ime)( is|:) |^Today('?s date)? is |"
     "^You are in area .* and all generic commands |"
     "^When a user asks to turn on all devices of a specific type, "},
};

/* ---- matching -------------------------------------------------------------------------------- */

/* Begins with an automaton that has room, and with all of the work that a request may cause. */
static enum kl_status begin_request(struct kl_late_lines *late, struct kl_api_error *error)
{
    struct kl_error err;
    if (late->run != NULL && (kl_regex_run_failure(late->run) != KL_OK ||
                              kl_regex_run_bytes(late->run) > KL_LATE_MAX_BYTES)) {
        kl_regex_run_close(late->run);
        late->run = NULL;
    }
    if (late->run == NULL && kl_regex_run_open(late->regex, &late->run, &err) != KL_OK) {
        late->run = NULL;
        return kl_api_fail_internal(error, &err);
    }
    late->work_left = MAX_WORK;
    kl_regex_run_count(late->run, &late->work_left);
    return KL_OK;
}

static bool matches(struct kl_late_lines *late, const char *line, size_t len)
{
    if (len > KL_LATE_MAX_LINE)
        return false;
    uint32_t state = kl_regex_run_start(late->run);
    for (size_t i = 0; i < len && state != KL_REGEX_DEAD; i++) {
        if (kl_regex_run_accepts_all(late->run, state))
            return true;
        state = kl_regex_run_step(late->run, state, (uint8_t)line[i]);
    }
    if (state != KL_REGEX_DEAD)
        return kl_regex_run_accepts(late->run, state);
    if (kl_regex_run_failure(late->run) == KL_ERR_LIMIT && !late->warned) {
        late->warned = true;
        kl_warning("--late-lines: a request took more steps than it may, so that its lines stay "
                   "where they are; use a simpler pattern. Further ones are not logged");
    }
    return false;
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum kl_status compile(const char *pattern, struct kl_regex **regex, struct kl_error *err)
{
    struct kl_buffer text;
    kl_buffer_init(&text, (size_t)8 * KL_LATE_MAX_PATTERN); /* "[:punct:]" grows less */
    enum kl_status status = kl_regex_from_posix(pattern, &text, err);
    if (status == KL_OK)
        status = kl_regex_compile(text.data, text.len, KL_REGEX_SEARCH, regex, err);
    kl_buffer_release(&text);
    return status;
}

enum kl_status kl_late_lines_open(const char *pattern, struct kl_late_lines **late,
                                  struct kl_error *err)
{
    struct kl_error cause;
    struct kl_late_lines *l = *late = calloc(1, sizeof *l);
    if (l == NULL)
        return kl_fail_memory(err, "the late lines", sizeof *l);
    const char *expression = pattern;
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(pattern, presets[i].name) == 0)
            expression = presets[i].pattern;
    }
    enum kl_status status = KL_OK;
    struct kl_api_error ignored;
    if (strlen(expression) > KL_LATE_MAX_PATTERN)
        status = kl_fail(err, KL_ERR_INVALID, "--late-lines: the pattern has more than %d bytes",
                         KL_LATE_MAX_PATTERN);
    else if ((status = compile(expression, &l->regex, &cause)) != KL_OK)
        status = kl_fail(err, status == KL_ERR_MEMORY ? status : KL_ERR_INVALID,
                         "--late-lines \"%.200s\": %s", pattern, cause.text);
    else if (kl_regex_positions(l->regex) > MAX_POSITIONS)
        status = kl_fail(err, KL_ERR_INVALID,
                         "--late-lines \"%.200s\": its repetitions stand for %zu characters, the "
                         "limit is %d; use smaller numbers in { }",
                         pattern, kl_regex_positions(l->regex), MAX_POSITIONS);
    else if (begin_request(l, &ignored) != KL_OK)
        status = kl_fail_memory(err, "the late lines", 0);
    else if (matches(l, "", 0))
        status = kl_fail(err, KL_ERR_INVALID,
                         "--late-lines \"%.200s\": the pattern matches an empty line, so it would "
                         "move all lines, or only empty ones; name the lines that change, as in "
                         "\"^Current time is \", or give home-assistant",
                         pattern);
    if (status != KL_OK) {
        kl_late_lines_close(l);
        *late = NULL;
    }
    return status;
}

void kl_late_lines_close(struct kl_late_lines *late)
{
    if (late == NULL)
        return;
    kl_regex_run_close(late->run);
    kl_regex_free(late->regex);
    free(late);
}

/* ---- moving ---------------------------------------------------------------------------------- */

struct lines {
    const char *text;
    size_t len, at;
};

/* Takes the next line, without its end. A text that ends with a line end has an empty last one, so
 * that lines joined by line ends are the text again. */
static bool next_line(struct lines *lines, const char **line, size_t *len)
{
    if (lines->text == NULL || lines->at > lines->len)
        return false;
    *line = lines->text + lines->at;
    size_t left = lines->len - lines->at;
    const char *end = left > 0 ? memchr(*line, '\n', left) : NULL;
    *len = end != NULL ? (size_t)(end - *line) : left;
    lines->at += *len + 1;
    return true;
}

static size_t without_return(const char *line, size_t len)
{
    while (len > 0 && line[len - 1] == '\r')
        len--;
    return len;
}

/* Appends a line to a text that begins at `begin`. */
static char *join(char *begin, char *end, const char *line, size_t len)
{
    if (end != begin)
        *end++ = '\n';
    memcpy(end, line, len);
    return end + len;
}

static bool is_system(const struct kl_message *m)
{
    return strcmp(m->role, "system") == 0 && m->content != NULL;
}

/* Counts the lines that match. Nothing matches if there were too many steps. */
static size_t count_matches(struct kl_late_lines *late, const struct kl_message *messages, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        struct lines lines = {messages[i].content, messages[i].content_len, 0};
        const char *line;
        size_t len;
        while (is_system(&messages[i]) && next_line(&lines, &line, &len))
            found += matches(late, line, without_return(line, len));
    }
    return kl_regex_run_failure(late->run) == KL_OK ? found : 0;
}

/* Splits the text of a message: the lines that stay are written to *kept, which is advanced, the
 * others to *moved. */
static void split(struct kl_late_lines *late, struct kl_message *m, char **kept, char *moved_begin,
                  char **moved)
{
    struct lines lines = {m->content, m->content_len, 0};
    const char *line;
    size_t len;
    char *begin = *kept;
    bool any = false, first = true;
    while (next_line(&lines, &line, &len)) {
        if (matches(late, line, without_return(line, len))) {
            *moved = join(moved_begin, *moved, line, without_return(line, len));
            any = true;
            continue;
        }
        if (!first)
            *(*kept)++ = '\n';
        memcpy(*kept, line, len);
        *kept += len;
        first = false;
    }
    if (any) {
        m->content = begin;
        m->content_len = (size_t)(*kept - begin);
    } else {
        *kept = begin;
    }
}

/* Puts the moved lines before the message `last`, and removes messages that have nothing left. */
static void insert(struct kl_chat_input *input, size_t last, const struct kl_message *late)
{
    struct kl_message *m = input->messages;
    size_t n = 0;
    memmove(m + last + 1, m + last, (input->n_messages - last) * sizeof *m);
    m[last] = *late;
    input->n_messages++;
    for (size_t i = 0; i < input->n_messages; i++) {
        bool emptied = i > 0 && i < last && is_system(&m[i]) && m[i].content_len == 0;
        if (!emptied)
            m[n++] = m[i];
    }
    input->n_messages = n;
}

static size_t last_of_user(const struct kl_chat_input *input)
{
    for (size_t i = input->n_messages; i-- > 0;) {
        if (strcmp(input->messages[i].role, "user") == 0)
            return i;
    }
    return 0; /* also if there is none: nothing is before it */
}

enum kl_status kl_late_lines_move(struct kl_late_lines *late, struct kl_chat_input *input,
                                  size_t *n_moved, struct kl_api_error *error)
{
    size_t last = last_of_user(input), total = 0;
    *n_moved = 0;
    for (size_t i = 0; i < last; i++)
        total += is_system(&input->messages[i]) ? input->messages[i].content_len : 0;
    if (total == 0 || total > KL_LATE_MAX_TEXT)
        return KL_OK;
    if (begin_request(late, error) != KL_OK)
        return KL_ERR_INVALID;
    *n_moved = count_matches(late, input->messages, last);
    if (kl_regex_run_failure(late->run) == KL_ERR_MEMORY)
        return kl_api_fail_memory(error, "the late lines");
    if (*n_moved == 0)
        return KL_OK;

    struct kl_message *messages =
        realloc(input->messages, (input->n_messages + 1) * sizeof *messages);
    if (messages == NULL)
        return kl_api_fail_memory(error, "the conversation");
    input->messages = messages;
    size_t size = total + last; /* the lines, with a line end each */
    input->late = malloc(2 * size);
    if (input->late == NULL)
        return kl_api_fail_memory(error, "the conversation");
    char *kept = input->late, *moved_begin = kept + size, *moved = moved_begin;
    for (size_t i = 0; i < last; i++) {
        if (is_system(&messages[i]))
            split(late, &messages[i], &kept, moved_begin, &moved);
    }
    const struct kl_message message = {
        .role = "system", .content = moved_begin, .content_len = (size_t)(moved - moved_begin)};
    insert(input, last, &message);
    return KL_OK;
}

#include "cli/line_editor.h"

#include <errno.h>
#include <histedit.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buffer.h"
#include "base/cache_dir.h"
#include "console/interrupt.h"

#define HISTORY_LINES 1000
#define MAX_LINE      ((size_t)1 << 20)

struct kl_line_editor {
    EditLine *edit;
    History *history;
    char *history_path;
    const char *prompt;
    struct kl_buffer line;
    bool interrupted;
};

static char *show_prompt(EditLine *edit)
{
    struct kl_line_editor *e;
    el_get(edit, EL_CLIENTDATA, &e);
    return (char *)(uintptr_t)e->prompt;
}

/* Reads a character for libedit, waiting with kl_interrupt_wait: libedit's own reader would swallow
 * the first Ctrl-C. */
static int read_character(EditLine *edit, wchar_t *out)
{
    struct kl_line_editor *e;
    mbstate_t state = {0};
    el_get(edit, EL_CLIENTDATA, &e);
    for (;;) {
        char byte;
        if (!kl_interrupt_wait(STDIN_FILENO)) {
            e->interrupted = true;
            return -1;
        }
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        /* A Ctrl-D that was typed before the terminal was switched to editing arrives as NUL, which
         * libedit treats as Ctrl-V: the next Ctrl-D would be text. */
        if (byte == '\0')
            continue;
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-2) /* more bytes belong to it */
            continue;
        if (used == (size_t)-1) { /* not a character of this locale: ignore it */
            state = (mbstate_t){0};
            continue;
        }
        return 1;
    }
}

/* libedit reads by path, so the file that was checked is named by its descriptor. */
static void load_history(struct kl_line_editor *e)
{
    HistEvent event;
    const char *name;
    char path[64];
    int dir, fd;
    if (kl_cache_dir_of(e->history_path, false, &dir, &name, NULL) != KL_OK)
        return;
    if (kl_cache_file_open(dir, name, &fd, NULL) == KL_OK) { /* there may be none yet */
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        history(e->history, &event, H_LOAD, path);
        close(fd);
    }
    close(dir);
}

static void save_history(struct kl_line_editor *e)
{
    static const char temporary[] = "history.tmp";
    HistEvent event;
    const char *name;
    int dir, fd;
    if (kl_cache_dir_of(e->history_path, false, &dir, &name, NULL) != KL_OK)
        return;
    if (kl_cache_file_create(dir, temporary, &fd, NULL) == KL_OK) {
        FILE *f = fdopen(fd, "w");
        bool ok = f != NULL && history(e->history, &event, H_SAVE_FP, f) >= 0 && fflush(f) == 0;
        if (ok)
            (void)kl_cache_file_keep(dir, fd, temporary, name, false, NULL);
        else
            (void)unlinkat(dir, temporary, 0);
        if (f != NULL)
            fclose(f);
        else
            close(fd);
    }
    close(dir);
}

enum kl_status kl_line_editor_open(const char *prompt, const char *history_path,
                                   struct kl_line_editor **editor, struct kl_error *err)
{
    HistEvent event;
    struct kl_line_editor *e = calloc(1, sizeof *e);
    if (e == NULL)
        return kl_fail_memory(err, "the line editor", sizeof *e);
    e->prompt = prompt;
    kl_buffer_init(&e->line, MAX_LINE);
    e->edit = el_init("kinglet", stdin, stderr, stderr);
    e->history = history_init();
    e->history_path = history_path != NULL ? strdup(history_path) : NULL;
    if (e->edit == NULL || e->history == NULL ||
        (history_path != NULL && e->history_path == NULL)) {
        kl_line_editor_close(e);
        return kl_fail(err, KL_ERR_IO, "the terminal cannot be used for editing lines");
    }
    el_set(e->edit, EL_CLIENTDATA, e);
    el_set(e->edit, EL_PROMPT, show_prompt);
    el_set(e->edit, EL_EDITOR, "emacs");
    el_set(e->edit, EL_SIGNAL, 0);
    el_set(e->edit, EL_GETCFN, read_character);
    el_set(e->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    history(e->history, &event, H_SETUNIQUE, 1);
    el_set(e->edit, EL_HIST, history, e->history);
    if (e->history_path != NULL)
        load_history(e);
    el_source(e->edit, NULL); /* the user's ~/.editrc */
    *editor = e;
    return KL_OK;
}

void kl_line_editor_close(struct kl_line_editor *e)
{
    if (e->history != NULL && e->history_path != NULL)
        save_history(e);
    if (e->history != NULL)
        history_end(e->history);
    if (e->edit != NULL)
        el_end(e->edit);
    kl_buffer_release(&e->line);
    free(e->history_path);
    free(e);
}

enum kl_line kl_line_editor_read(struct kl_line_editor *e, const char **line)
{
    HistEvent event;
    int count = 0;
    e->interrupted = false;
    const char *text = el_gets(e->edit, &count);
    if (e->interrupted) {
        el_reset(e->edit);
        fputc('\n', stderr);
        return KL_LINE_INTERRUPTED;
    }
    if (text == NULL || count <= 0)
        return KL_LINE_END;
    size_t len = (size_t)count;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    kl_buffer_clear(&e->line);
    if (kl_buffer_append(&e->line, text, len) != KL_OK) /* longer than MAX_LINE */
        return KL_LINE_INTERRUPTED;
    if (strspn(e->line.data, " \t") < len)
        history(e->history, &event, H_ENTER, e->line.data);
    *line = e->line.data;
    return KL_LINE_TEXT;
}

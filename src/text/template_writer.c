#include "text/template_writer.h"

#include <stdlib.h>
#include <string.h>

/* Appends text to the last span if that is of the same kind, else as a new span. The spans cover
 * the text from end to end; their pointers are set when the text does not move any more. */
static enum kl_status append(struct kl_prompt *p, const char *text, size_t len, bool special)
{
    enum kl_status status = kl_buffer_append(&p->text, text, len);
    if (status != KL_OK)
        return status;
    if (p->n_spans > 0 && p->spans[p->n_spans - 1].special == special) {
        p->spans[p->n_spans - 1].len += len;
        return KL_OK;
    }
    /* The array is full when its length is a power of two (or 0). */
    if ((p->n_spans & (p->n_spans - 1)) == 0) {
        size_t size = p->n_spans == 0 ? 1 : 2 * p->n_spans;
        struct kl_span *spans = realloc(p->spans, size * sizeof *spans);
        if (spans == NULL)
            return KL_ERR_MEMORY;
        p->spans = spans;
    }
    p->spans[p->n_spans++] = (struct kl_span){.len = len, .special = special};
    return KL_OK;
}

void kl_scaffold(struct kl_prompt *p, const char *text)
{
    if (p->status == KL_OK && text[0] != '\0')
        p->status = append(p, text, strlen(text), true);
}

void kl_content(struct kl_prompt *p, const char *text, size_t len)
{
    if (p->status == KL_OK && text != NULL && len > 0)
        p->status = append(p, text, len, false);
}

bool kl_has_role(const struct kl_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

struct kl_slice kl_slice_of(const struct kl_message *m)
{
    return m->content != NULL ? (struct kl_slice){m->content, m->content_len}
                              : (struct kl_slice){"", 0};
}

const char *kl_find_mark(struct kl_slice s, const char *mark, bool last)
{
    size_t len = strlen(mark);
    const char *found = NULL;
    for (size_t i = 0; i + len <= s.len && (found == NULL || last); i++) {
        const char *at = memchr(s.text + i, mark[0], s.len - len + 1 - i);
        if (at == NULL)
            break;
        i = (size_t)(at - s.text);
        if (memcmp(at, mark, len) == 0)
            found = at;
    }
    return found;
}

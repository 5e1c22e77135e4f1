/* Source: tokenizer.chat_template of Llama-3.2-1B-Instruct (2024), for tools as functions; the same
 * text is in files of Llama 3.1 and 3.3, but for Meta's own tools there. */
#include <string.h>

#include "base/utf8.h"
#include "text/template_writer.h"

/* Tools are written over several lines, at most MAX_SPREAD times as long as they were given, so
 * that a small request makes no large prompt. Those of programs become twice as long. */
#define MAX_SPREAD 8
#define INDENT     4 /* spaces for each level */

/* ---- Python's str.strip(), which Jinja calls trim ---- */

static bool is_python_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static struct kl_slice trim(struct kl_slice s)
{
    size_t end = 0; /* behind the last character that is no space */
    uint32_t c;
    bool valid, begun = false;
    for (size_t i = 0; i < s.len;) {
        size_t n = kl_utf8_decode(s.text + i, s.len - i, &c, &valid);
        if (is_python_space(c) && !begun) {
            s.text += n;
            s.len -= n;
            continue;
        }
        begun = true;
        i += n;
        if (!is_python_space(c))
            end = i;
    }
    s.len = end;
    return s;
}

/* ---- JSON ---- */

static void write_lines(struct kl_prompt *p, size_t depth)
{
    static const char spaces[] = "\n                                ";
    size_t left = depth * INDENT, most = sizeof spaces - 2;
    kl_content(p, spaces, 1 + (left < most ? left : most));
    for (left -= left < most ? left : most; left > 0; left -= left < most ? left : most)
        kl_content(p, spaces + 1, left < most ? left : most);
}

/* The end of the string that begins at text[0]. */
static size_t string_end(const char *text, size_t len)
{
    size_t i = 1;
    while (i < len && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    return i < len ? i + 1 : len;
}

/* Writes JSON text, which has no line breaks but ", " and ": ", as Python's json.dumps(indent=4)
 * does. */
static void write_spread(struct kl_prompt *p, const char *text)
{
    size_t len = strlen(text), depth = 0, most = p->text.len + MAX_SPREAD * len;
    for (size_t i = 0; i < len && p->status == KL_OK;) {
        char c = text[i];
        size_t n = c == '"' ? string_end(text + i, len - i) : 1;
        bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
        if (opens && i + 1 < len && (text[i + 1] == '}' || text[i + 1] == ']')) {
            n = 2; /* an empty one */
            opens = false;
        }
        if (closes && depth > 0)
            write_lines(p, --depth);
        kl_content(p, text + i, n);
        i += n;
        if (opens)
            depth++;
        if (opens || c == ',')
            write_lines(p, depth);
        if (c == ',' && i < len && text[i] == ' ')
            i++;
        if (p->text.len > most && p->status == KL_OK)
            p->status = KL_ERR_INVALID;
    }
}

/* Writes a string as Python's json.dumps(ensure_ascii=False) does. */
static void write_quoted(struct kl_prompt *p, struct kl_slice s)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt",
                      hex[] = "0123456789abcdef";
    size_t begin = 0;
    kl_content(p, "\"", 1);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.text[i];
        const char *found = c != '\0' ? strchr(escaped, c) : NULL;
        if (found == NULL && c >= 0x20)
            continue;
        kl_content(p, s.text + begin, i - begin);
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4 & 15], hex[c & 15]};
        if (found != NULL)
            escape[1] = letters[found - escaped];
        kl_content(p, escape, found != NULL ? 2 : 6);
        begin = i + 1;
    }
    kl_content(p, s.text + begin, s.len - begin);
    kl_content(p, "\"", 1);
}

/* ---- turns ---- */

static void open_turn(struct kl_prompt *p, const char *role)
{
    kl_scaffold(p, "<|start_header_id|>");
    kl_scaffold(p, role);
    kl_scaffold(p, "<|end_header_id|>\n\n");
}

static void write_trimmed(struct kl_prompt *p, const struct kl_message *m)
{
    struct kl_slice text = trim(kl_slice_of(m));
    kl_content(p, text.text, text.len);
}

/* A turn without text for a chat without a system message; *at is behind it. */
static void render_system(const struct kl_chat *chat, size_t *at, struct kl_prompt *p)
{
    open_turn(p, "system");
    kl_scaffold(p, chat->n_tools > 0 ? "Environment: ipython\n" : "");
    kl_scaffold(p, "Cutting Knowledge Date: December 2023\nToday Date: ");
    kl_scaffold(p, chat->date != NULL ? chat->date : "26 Jul 2024");
    kl_scaffold(p, "\n\n");
    if (kl_has_role(&chat->messages[0], "system"))
        write_trimmed(p, &chat->messages[(*at)++]);
    kl_scaffold(p, "<|eot_id|>");
}

/* The first message behind the system's, of any role. */
static void render_tools(const struct kl_chat *chat, size_t *at, struct kl_prompt *p)
{
    open_turn(p, "user");
    kl_scaffold(
        p, "Given the following functions, please respond with a JSON for a function call with its "
           "proper arguments that best answers the given prompt.\n\nRespond in the format "
           "{\"name\": function name, \"parameters\": dictionary of argument name and its value}."
           "Do not use variables.\n\n");
    for (size_t i = 0; i < chat->n_tools; i++) {
        write_spread(p, chat->tools[i]);
        kl_scaffold(p, "\n\n");
    }
    if (*at < chat->n_messages)
        write_trimmed(p, &chat->messages[(*at)++]);
    kl_scaffold(p, "<|eot_id|>");
}

/* The template refuses several calls in one message, which other models make: each is a turn. */
static void render_calls(const struct kl_message *m, struct kl_prompt *p)
{
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct kl_tool_call *call = &m->tool_calls[i];
        open_turn(p, "assistant");
        kl_scaffold(p, "{\"name\": \"");
        kl_content(p, call->name, strlen(call->name));
        kl_scaffold(p, "\", \"parameters\": ");
        kl_content(p, call->arguments, strlen(call->arguments));
        kl_scaffold(p, "}<|eot_id|>");
    }
}

void kl_render_llama3(const struct kl_chat_template *t, const struct kl_chat *chat,
                      struct kl_prompt *p)
{
    (void)t;
    size_t at = 0;
    kl_scaffold(p, "<|begin_of_text|>");
    render_system(chat, &at, p);
    if (chat->n_tools > 0)
        render_tools(chat, &at, p);
    for (; at < chat->n_messages; at++) {
        const struct kl_message *m = &chat->messages[at];
        bool is_result = kl_has_role(m, "tool");
        if (m->n_tool_calls > 0) {
            render_calls(m, p);
            continue;
        }
        open_turn(p, is_result ? "ipython" : m->role);
        if (is_result)
            write_quoted(p, kl_slice_of(m));
        else
            write_trimmed(p, m);
        kl_scaffold(p, "<|eot_id|>");
    }
    if (chat->add_generation_prompt)
        open_turn(p, "assistant");
}

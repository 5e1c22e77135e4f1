#include "grammar/string_bytes.h"

#include <string.h>

static void set(struct kl_string_table *t, int from, int first, int last, int to)
{
    for (int byte = first; byte <= last; byte++)
        t->next[from][byte] = (uint8_t)to;
}

static void set_each(struct kl_string_table *t, int from, const char *bytes, int to)
{
    for (; *bytes != '\0'; bytes++)
        t->next[from][(uint8_t)*bytes] = (uint8_t)to;
}

static void set_hex(struct kl_string_table *t, int from, int to)
{
    set_each(t, from, "0123456789abcdefABCDEF", to);
}

/* RFC 3629, section 4. */
static void set_utf8(struct kl_string_table *t)
{
    set(t, KL_STRING_BETWEEN, 0xC2, 0xDF, KL_STRING_UTF8_1);
    set(t, KL_STRING_BETWEEN, 0xE1, 0xEF, KL_STRING_UTF8_2);
    set(t, KL_STRING_BETWEEN, 0xE0, 0xE0, KL_STRING_UTF8_E0);
    set(t, KL_STRING_BETWEEN, 0xED, 0xED, KL_STRING_UTF8_ED);
    set(t, KL_STRING_BETWEEN, 0xF0, 0xF0, KL_STRING_UTF8_F0);
    set(t, KL_STRING_BETWEEN, 0xF1, 0xF3, KL_STRING_UTF8_3);
    set(t, KL_STRING_BETWEEN, 0xF4, 0xF4, KL_STRING_UTF8_F4);
    set(t, KL_STRING_UTF8_1, 0x80, 0xBF, KL_STRING_BETWEEN);
    set(t, KL_STRING_UTF8_2, 0x80, 0xBF, KL_STRING_UTF8_1);
    set(t, KL_STRING_UTF8_3, 0x80, 0xBF, KL_STRING_UTF8_2);
    set(t, KL_STRING_UTF8_E0, 0xA0, 0xBF, KL_STRING_UTF8_1);
    set(t, KL_STRING_UTF8_ED, 0x80, 0x9F, KL_STRING_UTF8_1);
    set(t, KL_STRING_UTF8_F0, 0x90, 0xBF, KL_STRING_UTF8_2);
    set(t, KL_STRING_UTF8_F4, 0x80, 0x8F, KL_STRING_UTF8_2);
}

static void set_escapes(struct kl_string_table *t)
{
    set_each(t, KL_STRING_BETWEEN, "\\", KL_STRING_ESCAPE);
    set_each(t, KL_STRING_ESCAPE, "\"\\/bfnrt", KL_STRING_BETWEEN);
    set_each(t, KL_STRING_ESCAPE, "u", KL_STRING_HEX_4);
    set_hex(t, KL_STRING_HEX_4, KL_STRING_HEX_3);
    set_each(t, KL_STRING_HEX_4, "dD", KL_STRING_HEX_3D);
    set_hex(t, KL_STRING_HEX_3, KL_STRING_HEX_2);
    set_each(t, KL_STRING_HEX_3D, "01234567", KL_STRING_HEX_2);
    set_each(t, KL_STRING_HEX_3D, "89abAB", KL_STRING_HIGH_2);
    set_hex(t, KL_STRING_HEX_2, KL_STRING_HEX_1);
    set_hex(t, KL_STRING_HEX_1, KL_STRING_BETWEEN);
    set_hex(t, KL_STRING_HIGH_2, KL_STRING_HIGH_1);
    set_hex(t, KL_STRING_HIGH_1, KL_STRING_LOW_BACKSLASH);
    set_each(t, KL_STRING_LOW_BACKSLASH, "\\", KL_STRING_LOW_U);
    set_each(t, KL_STRING_LOW_U, "u", KL_STRING_LOW_4);
    set_each(t, KL_STRING_LOW_4, "dD", KL_STRING_LOW_3);
    set_each(t, KL_STRING_LOW_3, "cdefCDEF", KL_STRING_LOW_2);
    set_hex(t, KL_STRING_LOW_2, KL_STRING_LOW_1);
    set_hex(t, KL_STRING_LOW_1, KL_STRING_BETWEEN);
}

void kl_string_table_init(struct kl_string_table *t)
{
    memset(t, KL_STRING_DEAD, sizeof *t);
    set(t, KL_STRING_BETWEEN, 0x20, 0x7F, KL_STRING_BETWEEN);
    set_each(t, KL_STRING_BETWEEN, "\"", KL_STRING_CLOSED);
    set_utf8(t);
    set_escapes(t);
}

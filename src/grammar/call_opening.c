#include "grammar/call_opening.h"

#include <string.h>

/* The steps of a beginning: in TAG, FENCE and KEY a fixed text is being read. */
enum step { TEXT, TAG, FENCE, BRACE, KEY, COLON, NAME };

static const char *tag_text[] = {"<tool_call>"};
static const char *fence_texts[] = {"```\n", "```json\n", "```tool_call\n", "```xml\n"};
static const char *key_text[] = {"\"name\""};
static const struct kl_texts tag = {tag_text, 1}, fences = {fence_texts, 4}, key = {key_text, 1};

bool kl_texts_step(const struct kl_texts *texts, struct kl_texts_place *place, uint8_t byte)
{
    const char *first = texts->n > 0 ? texts->texts[place->at] : "";
    for (size_t i = place->at; i < texts->n; i++) {
        const char *text = texts->texts[i];
        if (i > place->at && strncmp(text, first, place->len) != 0)
            return false;
        if (byte != '\0' && (uint8_t)text[place->len] == byte) {
            place->at = (uint16_t)i;
            place->len++;
            return true;
        }
    }
    return false;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

void kl_call_opening_begin(struct kl_call_opening *o)
{
    *o = (struct kl_call_opening){.step = TEXT, .is_first = true, .at_line_begin = true};
}

/* Whether the name of a tool is written but for the closing quote. Small models make new names of
 * it, get_weather_in_paris; that of a person or thing in other JSON has no such sign in it. */
static bool is_name_written(const struct kl_texts *names, const struct kl_call_opening *o)
{
    if (o->step != NAME || o->place.len == 0)
        return false;
    const char *name = names->texts[o->place.at];
    return name[o->place.len] == '"' && name[o->place.len + 1] == '\0' &&
           strpbrk(name + 1, "_.-0123456789") != NULL;
}

static bool is_whole(const struct kl_texts *texts, const struct kl_call_opening *o)
{
    return texts->texts[o->place.at][o->place.len] == '\0';
}

static void enter(struct kl_call_opening *o, enum step step)
{
    o->step = (uint8_t)step;
    o->place = (struct kl_texts_place){0, 0};
}

/* Goes on with a beginning; false: the byte does not belong to it. */
static bool go_on(const struct kl_texts *names, struct kl_call_opening *o, uint8_t byte)
{
    enum step step = (enum step)o->step;
    bool is_begun = o->place.len > 0;
    switch (step) {
    case TEXT:
        return false;
    case TAG:
        return kl_texts_step(&tag, &o->place, byte);
    case FENCE:
        if (!kl_texts_step(&fences, &o->place, byte))
            return false;
        if (is_whole(&fences, o)) {
            enter(o, BRACE);
            o->is_fenced = true;
        }
        return true;
    case BRACE:
        if (byte == '{')
            enter(o, KEY);
        return byte == '{' || is_space(byte);
    case KEY:
        if (!is_begun && is_space(byte))
            return true;
        if (!kl_texts_step(&key, &o->place, byte))
            return false;
        if (is_whole(&key, o))
            enter(o, COLON);
        return true;
    case COLON:
        if (byte == ':')
            enter(o, NAME);
        return byte == ':' || is_space(byte);
    case NAME:
        return (!is_begun && is_space(byte)) || kl_texts_step(names, &o->place, byte);
    }
    return false;
}

/* A beginning begins, or text goes on. */
static void begin(const struct kl_texts *names, struct kl_call_opening *o, uint8_t byte)
{
    o->is_fenced = o->is_spread = false;
    if (byte == '<')
        enter(o, TAG);
    else if (byte == '`' && o->at_line_begin)
        enter(o, FENCE);
    else if (byte == '{' && o->is_first)
        enter(o, BRACE);
    else
        enter(o, TEXT);
    go_on(names, o, byte);
}

enum kl_call_opened kl_call_opening_step(const struct kl_texts *names, struct kl_call_opening *o,
                                         uint8_t byte)
{
    bool is_written = is_name_written(names, o);
    if (!go_on(names, o, byte)) {
        if (is_written)
            return KL_OPENED_WRONG;
        begin(names, o, byte);
    }
    o->is_spread = o->is_spread || (o->step == KEY && byte == '\n');
    o->is_first = o->is_first && is_space(byte);
    o->at_line_begin = byte == '\n' || (o->at_line_begin && is_space(byte));
    if (o->step == TAG && is_whole(&tag, o))
        return KL_OPENED_TAG;
    if (o->step == NAME && o->place.len > 0 && is_whole(names, o))
        return o->is_fenced ? KL_OPENED_FENCED : KL_OPENED_BARE;
    return KL_OPENED_NOT;
}

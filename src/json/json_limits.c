#include "json/json_limits.h"

#include <stdbool.h>

/* Whether a number begins at i, or after blanks there. */
static bool is_number(const char *data, size_t len, size_t i)
{
    while (i < len && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r'))
        i++;
    return i < len && (data[i] == '-' || (data[i] >= '0' && data[i] <= '9'));
}

enum kl_status kl_json_check_limits(const char *data, size_t len, size_t max_depth,
                                    size_t max_nodes, struct kl_error *err)
{
    return kl_json_check_limits_apart(data, len, max_depth, max_nodes, 0, err);
}

enum kl_status kl_json_check_limits_apart(const char *data, size_t len, size_t max_depth,
                                          size_t max_nodes, size_t max_numbers,
                                          struct kl_error *err)
{
    size_t depth = 0, nodes = 0, numbers = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (data[i] == '\\')
                i++;
            else if (data[i] == '"')
                in_string = false;
            continue;
        }
        switch (data[i]) {
        case '"':
            in_string = true;
            break;
        case '{':
        case '[':
            if (++depth > max_depth)
                return kl_fail(err, KL_ERR_LIMIT,
                               "the JSON is nested more than %zu levels deep (at byte %zu)",
                               max_depth, i);
            nodes++;
            break;
        case '}':
        case ']':
            if (depth > 0)
                depth--;
            break;
        case ',':
            if (max_numbers > 0 && is_number(data, len, i + 1))
                numbers++;
            else
                nodes++;
            break;
        case ':':
            nodes++;
            break;
        default:
            break;
        }
        if (numbers > max_numbers)
            return kl_fail(err, KL_ERR_LIMIT, "the JSON has more than %zu numbers (at byte %zu)",
                           max_numbers, i);
        if (nodes > max_nodes)
            return kl_fail(err, KL_ERR_LIMIT, "the JSON has more than %zu values (at byte %zu)",
                           max_nodes, i);
    }
    return KL_OK;
}

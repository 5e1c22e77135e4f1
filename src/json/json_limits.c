#include "json/json_limits.h"

#include <stdbool.h>

enum kl_status kl_json_check_limits(const char *data, size_t len, size_t max_depth,
                                    size_t max_nodes, struct kl_error *err)
{
    size_t depth = 0, nodes = 0;
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
        case ':':
            nodes++;
            break;
        default:
            break;
        }
        if (nodes > max_nodes)
            return kl_fail(err, KL_ERR_LIMIT, "the JSON has more than %zu values (at byte %zu)",
                           max_nodes, i);
    }
    return KL_OK;
}

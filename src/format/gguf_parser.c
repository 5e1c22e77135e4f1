#include "format/gguf_parser.h"

#include <inttypes.h>
#include <string.h>

bool kl_gguf_same(struct kl_gguf_string a, struct kl_gguf_string b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool is_printable(struct kl_gguf_string s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] > 0x7E)
            return false;
    return true;
}

enum kl_status kl_gguf_fail_short(struct kl_gguf_parser *p, const char *what)
{
    if (p->reader.size < p->size)
        return kl_fail(p->err, KL_ERR_LIMIT,
                       "%s at byte %zu: the metadata is over the limit of %zu bytes", what,
                       p->reader.pos, p->reader.size);
    return kl_fail(p->err, KL_ERR_FORMAT,
                   "%s at byte %zu: the file ends too soon, after %zu bytes; it is truncated or "
                   "damaged, get it again",
                   what, p->reader.pos, p->reader.size);
}

enum kl_status kl_gguf_read_u32(struct kl_gguf_parser *p, const char *what, uint32_t *out)
{
    return kl_read_u32(&p->reader, out) ? KL_OK : kl_gguf_fail_short(p, what);
}

enum kl_status kl_gguf_read_u64(struct kl_gguf_parser *p, const char *what, uint64_t *out)
{
    return kl_read_u64(&p->reader, out) ? KL_OK : kl_gguf_fail_short(p, what);
}

enum kl_status kl_gguf_read_string(struct kl_gguf_parser *p, const char *what, uint64_t low,
                                   uint64_t high, struct kl_gguf_string *out)
{
    size_t start = p->reader.pos;
    uint64_t len;
    const uint8_t *data;
    enum kl_status status = kl_gguf_read_u64(p, what, &len);
    if (status != KL_OK)
        return status;
    if (len < low || len > high)
        return kl_fail(p->err, KL_ERR_FORMAT,
                       "%s at byte %zu: length: expected %" PRIu64 " to %" PRIu64
                       " bytes, found %" PRIu64,
                       what, start, low, high, len);
    if (!kl_read_bytes(&p->reader, len, &data))
        return kl_gguf_fail_short(p, what);
    *out = (struct kl_gguf_string){(const char *)data, (size_t)len};
    return KL_OK;
}

enum kl_status kl_gguf_read_name(struct kl_gguf_parser *p, const char *what, uint64_t max,
                                 struct kl_gguf_string *out)
{
    size_t start = p->reader.pos;
    enum kl_status status = kl_gguf_read_string(p, what, 1, max, out);
    if (status == KL_OK && !is_printable(*out))
        status = kl_fail(p->err, KL_ERR_FORMAT,
                         "%s at byte %zu: expected printable ASCII characters only", what, start);
    return status;
}

int kl_gguf_compare(struct kl_gguf_string a, struct kl_gguf_string b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

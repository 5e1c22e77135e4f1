#include "base/bytes.h"

#include <string.h>

/* The program runs on little-endian machines only (x86-64, aarch64), so a value is a copy. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian machines only");

static bool read_value(struct kl_reader *r, void *out, size_t size)
{
    if (kl_reader_left(r) < size)
        return false;
    memcpy(out, r->data + r->pos, size);
    r->pos += size;
    return true;
}

bool kl_read_u8(struct kl_reader *r, uint8_t *out)
{
    return read_value(r, out, sizeof *out);
}

bool kl_read_u16(struct kl_reader *r, uint16_t *out)
{
    return read_value(r, out, sizeof *out);
}

bool kl_read_u32(struct kl_reader *r, uint32_t *out)
{
    return read_value(r, out, sizeof *out);
}

bool kl_read_u64(struct kl_reader *r, uint64_t *out)
{
    return read_value(r, out, sizeof *out);
}

bool kl_read_f32(struct kl_reader *r, float *out)
{
    return read_value(r, out, sizeof *out);
}

bool kl_read_f64(struct kl_reader *r, double *out)
{
    return read_value(r, out, sizeof *out);
}

bool kl_read_bytes(struct kl_reader *r, uint64_t len, const uint8_t **out)
{
    if (kl_reader_left(r) < len)
        return false;
    *out = r->data + r->pos;
    r->pos += (size_t)len;
    return true;
}

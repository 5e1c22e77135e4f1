/*
 * dequantize_dump TYPE: raw blocks on standard input, float32 on standard output. For
 * test_dequantize.py, which compares the floats with those of the Python package gguf.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant.h"

static const struct kl_quant_type *type_named(const char *name)
{
    for (uint32_t id = 0; id < 256; id++) {
        const struct kl_quant_type *type = kl_quant_type(id);
        if (type != NULL && strcmp(type->name, name) == 0)
            return type;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const struct kl_quant_type *type = argc == 2 ? type_named(argv[1]) : NULL;
    if (type == NULL) {
        fprintf(stderr, "usage: dequantize_dump TYPE, one of %s\n", kl_quant_names());
        return 2;
    }
    unsigned char block[256];
    float out[256];
    while (fread(block, type->block_bytes, 1, stdin) == 1) {
        type->dequantize(block, 1, out);
        if (fwrite(out, sizeof out[0], type->block_elements, stdout) != type->block_elements)
            return 1;
    }
    return ferror(stdin) ? 1 : 0;
}

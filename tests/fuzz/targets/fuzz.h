/*
 * What the fuzz targets share. A target is one function that libFuzzer calls with bytes of its own
 * invention; a broken promise ends the program, and the bytes that did it are kept in a file.
 * tests/fuzz/test_targets.py runs all of them; by hand, for longer:
 *
 *     build/fuzz/tests/fuzz/targets/fuzz_http -max_total_time=900 DIRECTORY
 */
#ifndef KL_TESTS_FUZZ_H
#define KL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The next byte of the input, 0 behind its end. */
static inline uint8_t take_byte(const uint8_t **data, size_t *size)
{
    if (*size == 0)
        return 0;
    (*size)--;
    return *(*data)++;
}

#endif

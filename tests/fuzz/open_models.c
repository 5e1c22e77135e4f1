/*
 * open_models DEPTH: opens the model files on standard input like the program, and reads all their
 * contents. For test_damaged_models.py; should be built with sanitizers.
 *
 * DEPTH: gguf, tokenizer or model, the last stage of opening (model includes a forward pass).
 * Input: per file 8 bytes of length, little-endian, and its bytes. Output: a line per file, "ok" or
 * "STATUS TEXT". With "out-of-memory" as a second argument every file is opened again and again,
 * failing the first allocation, then the second, ..., until it opens (or is refused for another
 * reason), and the line is "ok N" for N refusals.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "walk_model.h"
#include "wrapped.h"

/* Makes every allocation from the first on fail, then from the second on, ... */
static void open_out_of_memory(const char *path, enum walk_depth depth)
{
    for (size_t n = 1;; n++) {
        struct kl_error err = {0};
        wrapped_allocations = 0;
        wrapped_failing_from = n;
        enum kl_status status = walk_file(path, depth, &err);
        wrapped_failing_from = 0;
        if (status == KL_OK && wrapped_allocations < n) {
            printf("ok %zu\n", n - 1);
            return;
        }
        if (status != KL_ERR_MEMORY || err.status != KL_ERR_MEMORY) {
            printf("allocation %zu: %s %s\n", n, kl_status_name(status), err.text);
            return;
        }
    }
}

static void open_once(const char *path, enum walk_depth depth)
{
    struct kl_error err = {0};
    enum kl_status status = walk_file(path, depth, &err);
    if (status == KL_OK)
        printf("ok\n");
    else
        printf("%s %s\n", kl_status_name(status), err.text);
    if (status != err.status)
        abort();
}

int main(int argc, char **argv)
{
    static const char *const depths[] = {"gguf", "tokenizer", "model"};
    int depth = 0;
    while (argc > 1 && depth < 3 && strcmp(argv[1], depths[depth]) != 0)
        depth++;
    if (argc < 2 || depth == 3) {
        fprintf(stderr, "usage: open_models gguf|tokenizer|model [out-of-memory] < FILES\n");
        return 2;
    }
    bool out_of_memory = argc > 2 && strcmp(argv[2], "out-of-memory") == 0;

    uint64_t len;
    while (fread(&len, sizeof len, 1, stdin) == 1) {
        char path[64];
        int fd = memfd_create("model", 0);
        char *data = malloc(len + 1);
        if (fd < 0 || data == NULL || fread(data, 1, len, stdin) != len ||
            write(fd, data, len) != (ssize_t)len) {
            perror("open_models");
            return 1;
        }
        free(data);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (out_of_memory)
            open_out_of_memory(path, (enum walk_depth)depth);
        else
            open_once(path, (enum walk_depth)depth);
        fflush(stdout);
        close(fd);
    }
    fprintf(stderr, "checksum %u\n", walk_checksum);
    return 0;
}

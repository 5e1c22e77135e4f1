/* Converts each line of standard input by kl_python_json; prints the text, or "error: ...". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/python_json.h"

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    struct kl_buffer out;
    kl_buffer_init(&out, (size_t)64 << 20);
    while ((n = getline(&line, &room, stdin)) > 0) {
        size_t len = (size_t)n - (line[n - 1] == '\n'), at = 0;
        char *exact = malloc(len); /* no byte behind it: a sanitizer sees reads beyond the end */
        struct kl_error err = {0};
        if (exact == NULL && len > 0)
            return 1;
        memcpy(exact, line, len);
        kl_buffer_clear(&out);
        if (kl_python_json(exact, len, &at, &out, &err) != KL_OK)
            printf("error: %s\n", err.text);
        else if (at != len)
            printf("error: more behind byte %zu\n", at);
        else
            printf("%s\n", out.data);
        free(exact);
    }
    kl_buffer_release(&out);
    free(line);
    return 0;
}

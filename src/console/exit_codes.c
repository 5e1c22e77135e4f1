#include "console/exit_codes.h"

#include <stdio.h>

#include "base/log.h"

int kl_report(const char *command, const struct kl_error *err)
{
    fflush(stdout);
    kl_log_stop(); /* writes the queued lines first */
    fprintf(stderr, "kinglet %s: %s\n", command, err->text);
    if (err->status != KL_ERR_INVALID)
        return KL_EXIT_FAILURE;
    fprintf(stderr, "Try 'kinglet %s --help'.\n", command);
    return KL_EXIT_USAGE;
}

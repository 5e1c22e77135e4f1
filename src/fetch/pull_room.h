/*
 * How much of the disk downloads for clients of a server may take (serve --allow-pull-size): all
 * files in the models directory count, those of the operator and unfinished downloads as well, so
 * nothing has to be remembered, and no client gets more by leaving downloads unfinished.
 *
 * Blocks for the file system; any thread.
 */
#ifndef KL_FETCH_PULL_ROOM_H
#define KL_FETCH_PULL_ROOM_H

#include <stdint.h>

#include "base/error.h"

/* Bytes that a download for a client leaves free on the disk. */
#define KL_PULL_RESERVE ((uint64_t)1 << 30)

/* Checks that `coming` more bytes may be written: KL_ERR_LIMIT: the models directory would have
 * more than `most` bytes; KL_ERR_IO: the disk would have less than KL_PULL_RESERVE free. */
enum kl_status kl_pull_room_check(uint64_t most, uint64_t coming, struct kl_error *err);

#endif

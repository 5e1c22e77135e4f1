/*
 * The output head: normed rows to logits, or to the few of them that can be chosen.
 *
 * For the forward pass only. A head in two halves (kernels/packing.h) is screened for rows that
 * want candidates within a limit: the product of the upper bits and its error bound tell which
 * groups of rows can contain a candidate, and only those are computed with all bits. In decoding
 * that saves a third of the bytes that the head reads, and the result is exact. Groups without an
 * allowed token are not read at all. Only rows without a limit get all logits.
 */
#ifndef KL_MODEL_HEAD_H
#define KL_MODEL_HEAD_H

#include "model/operations.h"

enum kl_status kl_head_open(const struct kl_model *model, size_t n_threads, struct kl_head *head,
                            struct kl_error *err);
void kl_head_release(struct kl_head *head);

/* Releases the pages that computing all logits has made resident. Otherwise the lower bits of a
 * mapped head are read with pread, a group at a time: the system would map 64 KB around each. */
void kl_head_give_back(const struct kl_model *model);

/* Whether a row can be screened: it wants candidates within a limit (or few allowed tokens), and
 * not all logits. */
bool kl_head_can_screen(const struct kl_model *model, const struct kl_row *row);

/* Fills logits and candidates of the rows in output_rows; normed has their activations, in that
 * order. */
void kl_head_run(struct kl_forward *f);

#endif

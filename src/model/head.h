/*
 * The output head: normed rows to logits, or to the few of them that can be chosen.
 *
 * For the forward pass only. A head in two halves (kernels/packing.h) is screened for the rows that
 * want candidates within a limit: the product by the upper bits and its error bound say which
 * groups of rows may hold a token that matters, and only those are computed with all bits. In
 * decoding that saves a third of what the head reads, and the result is exact. Rows of the same
 * batch that have no limit get all logits, and only they.
 */
#ifndef KL_MODEL_HEAD_H
#define KL_MODEL_HEAD_H

#include "model/operations.h"

enum kl_status kl_head_open(const struct kl_model *model, size_t n_threads, struct kl_head *head,
                            struct kl_error *err);
void kl_head_release(struct kl_head *head);

/* The lower bits of a mapped head are read a group at a time and not mapped in (the system would
 * map 64 KB around each, and soon all of it); this gives back what all logits have made resident.
 */
void kl_head_give_back(const struct kl_model *model);

/* Whether a row can be screened: it wants candidates within a limit (or few allowed tokens), and
 * not all logits. */
bool kl_head_can_screen(const struct kl_model *model, const struct kl_row *row);

/* Fills logits and candidates of the rows that want them: normed holds them in the order of
 * output_rows. */
void kl_head_run(struct kl_forward *f);

#endif

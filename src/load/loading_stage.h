/*
 * The stages of loading a model, for an observer that shows them.
 */
#ifndef KL_LOAD_LOADING_STAGE_H
#define KL_LOAD_LOADING_STAGE_H

enum kl_loading_stage {
    KL_LOADING_FINDING,     /* which model, and where it is */
    KL_LOADING_DOWNLOADING, /* bytes */
    KL_LOADING_OPENING,     /* the file, the tokenizer */
    KL_LOADING_PACKING,     /* the weights, at the first start; bytes */
    KL_LOADING_READING,     /* the weights; bytes */
    KL_LOADING_MEASURING    /* how many threads are best, at the first start */
};

/* "finding", "downloading", ...; static. */
const char *kl_loading_stage_name(enum kl_loading_stage stage);

#endif

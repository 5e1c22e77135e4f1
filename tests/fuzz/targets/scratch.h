/*
 * A temporary directory for the target, which is removed with its files at the end.
 */
#ifndef KL_TESTS_FUZZ_SCRATCH_H
#define KL_TESTS_FUZZ_SCRATCH_H

const char *scratch_directory(void);

#endif

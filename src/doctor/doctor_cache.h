/*
 * The part of `kinglet doctor` that examines the cache directory.
 */
#ifndef KL_DOCTOR_DOCTOR_CACHE_H
#define KL_DOCTOR_DOCTOR_CACHE_H

#include "console/findings.h"

/* Adds a finding: the size of each kind of file, and how much of it no process uses. Reads
 * directories only, no contents. Uses static storage: one thread at a time. */
void kl_doctor_cache(struct kl_findings *findings);

#endif

/* The speed to expect of a model that was not used yet, from the speed of memory and processor. */
#include <stdio.h>
#include <string.h>

#include "console/terminal.h"
#include "doctor/doctor.h"

#define AREA "speed"

/* The shares of reading alone and of multiplying alone that models reach, at worst and at best:
 * `kinglet bench` prints both. Weights are read in order, the measured buffer is not, so
 * that more than all of it is possible. */
#define READ_SHARE_LOW      0.45
#define READ_SHARE_HIGH     1.1
#define MULTIPLY_SHARE_LOW  0.25
#define MULTIPLY_SHARE_HIGH 0.6
/* Decoding multiplies a row alone, which unpacks each weight for one product. */
#define DECODE_SHARE 0.3

#define MEASUREMENTS 9 /* of some 30 ms each */

#define TOO_SLOW 2.0 /* tokens/s: slower than one reads */

/* Tokens a second where one takes `read` and `multiply` seconds, which overlap at best. */
static double at_best(double read, double multiply)
{
    return 1 / (read > multiply ? read : multiply);
}

static double at_worst(double read, double multiply)
{
    return 1 / (read + multiply);
}

struct kl_expected_speed kl_expect_speed(const struct kl_model_work *work,
                                         const struct kl_bench_point *point)
{
    double read = (double)work->bytes_per_token / (point->read_gb * 1e9);
    double row = (double)work->macs_per_token / (point->int8_gmac * 1e9);
    double prompt = (double)work->prompt_macs / (point->int8_gmac * 1e9);
    double share = read / KL_PREFILL_CHUNK; /* all weights are read once for a chunk */
    return (struct kl_expected_speed){
        .decode_low = at_worst(read / READ_SHARE_LOW, row / DECODE_SHARE),
        .decode_high = at_best(read / READ_SHARE_HIGH, row / DECODE_SHARE),
        .prefill_low = at_worst(share / READ_SHARE_LOW, prompt / MULTIPLY_SHARE_LOW),
        .prefill_high = at_best(share / READ_SHARE_HIGH, prompt / MULTIPLY_SHARE_HIGH),
    };
}

/* Decimals that leave a number two digits. */
static int digits(double value)
{
    return value < 10 ? 1 : 0;
}

/* Measures the speed of reading and multiplying in turn, as bench does between its runs. */
static enum kl_status measure_point(const struct kl_loaded *l, struct kl_bench_point *point,
                                    struct kl_error *err)
{
    double reads[MEASUREMENTS], multiplies[MEASUREMENTS];
    struct kl_bench_reader *reader;
    enum kl_status status =
        kl_bench_reader_open(kl_model_kernels(l->model), l->n_threads, &reader, err);
    if (status != KL_OK)
        return status;
    for (size_t i = 0; i < MEASUREMENTS; i++) {
        reads[i] = kl_bench_read_once(reader);
        multiplies[i] = kl_bench_multiply_once(reader);
    }
    *point = (struct kl_bench_point){
        .threads = l->n_threads,
        .read_gb = kl_bench_summarise(reads, MEASUREMENTS).median,
        .int8_gmac = kl_bench_summarise(multiplies, MEASUREMENTS).median,
    };
    kl_bench_reader_close(reader);
    return KL_OK;
}

void kl_doctor_expect(struct kl_findings *findings, const struct kl_loaded *l)
{
    struct kl_bench_point point;
    struct kl_error err = {0};
    struct kl_model_work work = kl_model_work(l->model);
    char bytes[32];
    if (measure_point(l, &point, &err) != KL_OK) {
        kl_found(findings, KL_NOTE, AREA, "not known: %s", err.text);
        return;
    }
    struct kl_expected_speed e = kl_expect_speed(&work, &point);
    struct kl_finding *found =
        kl_found(findings, e.decode_high < TOO_SLOW ? KL_WARNING : KL_NOTE, AREA,
                 "answers: %.*f to %.*f tokens/s are expected: %s are read for each, at %.1f GB/s "
                 "with %zu threads",
                 digits(e.decode_low), e.decode_low, digits(e.decode_high), e.decode_high,
                 kl_format_bytes((double)work.bytes_per_token, bytes, sizeof bytes), point.read_gb,
                 point.threads);
    if (e.decode_high < TOO_SLOW)
        kl_found_remedy(found, "take a smaller file of this model, or a smaller model");
    double first_low = 1000 / e.prefill_high, first_high = 1000 / e.prefill_low;
    kl_found(findings, KL_NOTE, AREA,
             "prompts: %.*f to %.*f tokens/s are expected, %.*f to %.*f s to the first token of a "
             "prompt of 1000: %.2f GMAC for each, at %.0f GMAC/s",
             digits(e.prefill_low), e.prefill_low, digits(e.prefill_high), e.prefill_high,
             digits(first_low), first_low, digits(first_high), first_high,
             (double)work.prompt_macs * 1e-9, point.int8_gmac);
}

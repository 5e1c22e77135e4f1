#include "harness.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- numbers --------------------------------------------------------------------------------- */

static uint64_t random_state;

/* xorshift64*, Marsaglia 2003 / Vigna 2016 */
uint64_t random_bits(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Du;
}

float random_float(float size)
{
    return ((float)(random_bits() >> 40) / 8388608.0f - 1.0f) * size;
}

void random_floats(float *x, size_t n, float size)
{
    /* 0 to 3: extreme; 1e-40 is subnormal, the square of 1e19 is near the end of the range */
    unsigned kind = (unsigned)(random_bits() >> 59);
    if (kind == 1)
        size = 1e-40f;
    if (kind == 2)
        size = 1e19f;
    for (size_t i = 0; i < n; i++)
        x[i] = kind == 0 ? 0.0f : random_float(size);
    if (kind == 3)
        x[random_bits() % n] = size * 1e6f;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static bool at_the_end; /* the side of the mapping that touches the guard page */

/* Mappings that an aborted check leaves behind; only a few. */
struct guarded guarded_new(size_t bytes, size_t alignment)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    size_t inside = (rounded + page - 1) / page * page;
    struct guarded g = {.mapped = inside + 2 * page};
    g.base = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.base == MAP_FAILED || mprotect(g.base, page, PROT_NONE) != 0 ||
        mprotect(g.base + page + inside, page, PROT_NONE) != 0) {
        perror("guard pages");
        exit(2);
    }
    g.data = g.base + page + (at_the_end ? inside - rounded : 0);
    return g;
}

void guarded_free(struct guarded *g)
{
    munmap(g->base, g->mapped);
}

/* ---- attempts -------------------------------------------------------------------------------- */

static char attempted[160], failure[400];
static sigjmp_buf give_up;

void attempt(const char *slot, const struct kl_kernels *tier, const char *shape, ...)
{
    va_list arguments;
    int n = snprintf(attempted, sizeof attempted, "%s of %s (", slot, tier->name);
    va_start(arguments, shape);
    n += vsnprintf(attempted + n, sizeof attempted - (size_t)n, shape, arguments);
    va_end(arguments);
    snprintf(attempted + n, sizeof attempted - (size_t)n, ")");
}

void expect(bool good, const char *reason, ...)
{
    if (good)
        return;
    va_list arguments;
    int n = snprintf(failure, sizeof failure, "%s: ", attempted);
    va_start(arguments, reason);
    vsnprintf(failure + n, sizeof failure - (size_t)n, reason, arguments);
    va_end(arguments);
    siglongjmp(give_up, 1);
}

void expect_same(const void *found, const void *expected, size_t bytes)
{
    const uint8_t *a = found, *b = expected;
    for (size_t i = 0; i < bytes; i++)
        expect(a[i] == b[i], "byte %zu of %zu is %02x where the scalar tier has %02x", i, bytes,
               a[i], b[i]);
}

static void on_signal(int number)
{
    /* a fault of the kernel, not an asynchronous signal: no other code runs */
    snprintf(failure, sizeof failure, "%s: died of %s", attempted, strsignal(number));
    siglongjmp(give_up, 1);
}

static void catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &action, NULL);
}

/* siglongjmp may lose changes of local variables in this frame, so it has none that change. */
static bool passes(const struct check *check, const struct kl_kernels *tier)
{
    if (sigsetjmp(give_up, 1) != 0)
        return false;
    check->run(tier);
    return true;
}

int run_checks(const struct check *checks, size_t n, const struct kl_kernels *tier, uint64_t seed)
{
    int failed = 0;
    catch_signals();
    for (size_t i = 0; i < n; i++) {
        bool passed = true;
        for (int side = 0; side < 2 && passed; side++) {
            at_the_end = side == 0;
            random_state = seed | 1; /* each check can be repeated alone */
            snprintf(attempted, sizeof attempted, "%s of %s", checks[i].name, tier->name);
            passed = passes(&checks[i], tier);
        }
        if (passed) {
            printf("ok      %s of %s\n", checks[i].name, tier->name);
        } else {
            printf("FAILED  %s; seed %llu\n", failure, (unsigned long long)seed);
            failed++;
        }
    }
    return failed;
}

const char *last_failure(void)
{
    return failure;
}

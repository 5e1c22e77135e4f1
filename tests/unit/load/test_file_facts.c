/* src/load/file_facts.c: the digest of a model file that nothing uses, which may change meanwhile;
 * needs KINGLET_TEST_TINY_MODEL */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "format/digest.h"
#include "load/file_facts.h"

#define N_DIGESTS 20000

struct model {
    struct kl_model_location location;
    char dir[64];
    uint8_t *data;
    size_t size;
    _Atomic(bool) over;
};

static void write_file(const struct model *m, size_t size)
{
    FILE *file = fopen(m->location.path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(m->data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    static struct model m;
    const char *source = getenv("KINGLET_TEST_TINY_MODEL");
    if (source == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    FILE *file = fopen(source, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    m.size = (size_t)ftell(file);
    rewind(file);
    m.data = malloc(m.size);
    assert_non_null(m.data);
    assert_int_equal(fread(m.data, 1, m.size, file), m.size);
    fclose(file);
    strcpy(m.dir, "/tmp/kinglet-facts-XXXXXX");
    assert_non_null(mkdtemp(m.dir));
    snprintf(m.location.path, sizeof m.location.path, "%s/model.gguf", m.dir);
    setenv("XDG_CACHE_HOME", "/dev/null", 1); /* no digest is remembered */
    write_file(&m, m.size);
    *state = &m;
    return 0;
}

static int teardown(void **state)
{
    struct model *m = *state;
    unlink(m->location.path);
    rmdir(m->dir);
    free(m->data);
    return 0;
}

static void *rewrite(void *argument)
{
    struct model *m = argument;
    while (!atomic_load(&m->over)) {
        write_file(m, 0);
        write_file(m, m->size);
    }
    return NULL;
}

static void test_a_file_that_changes(void **state)
{
    struct model *m = *state;
    static const _Atomic(bool) go_on = false;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, rewrite, m), 0);
    for (size_t i = 0; i < N_DIGESTS; i++) {
        struct kl_model_facts facts = {0};
        kl_file_facts_digest(&m->location, &facts, &go_on);
    }
    atomic_store(&m->over, true);
    pthread_join(thread, NULL);

    struct kl_model_facts facts = {0};
    struct kl_sha256 hash;
    uint8_t expected[KL_DIGEST_SIZE];
    char text[2 * KL_DIGEST_SIZE + 1];
    kl_sha256_init(&hash);
    kl_sha256_update(&hash, m->data, m->size);
    kl_sha256_finish(&hash, expected);
    for (size_t i = 0; i < KL_DIGEST_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", expected[i]);
    kl_file_facts_digest(&m->location, &facts, &go_on);
    assert_string_equal(atomic_load(&facts.digest), text);
}

static void test_stopped(void **state)
{
    struct model *m = *state;
    static const _Atomic(bool) stop = true;
    struct kl_model_facts facts = {0};
    kl_file_facts_digest(&m->location, &facts, &stop);
    assert_null(atomic_load(&facts.digest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_that_changes),
        cmocka_unit_test(test_stopped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

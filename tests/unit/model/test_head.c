/* src/model/head.c: a choice holds the same bits as all logits, for every token that matters. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/gguf.h"
#include "model/architecture.h"
#include "model/model.h"

/* Not a multiple of KL_LANES, nor of an item; enough groups that most are not looked at. */
enum { N_VOCAB = 6003, WIDTH = 96, BLOCKS = WIDTH / 32, ROW_BYTES = BLOCKS * 34, MOST_ROWS = 19 };

static void do_nothing(struct kl_forward *f, const struct kl_layer *layer, size_t index)
{
    (void)f;
    (void)layer;
    (void)index;
}

static const struct kl_architecture nothing = {.name = "nothing", .run_layer = do_nothing};

/* A model whose layers do nothing: what comes out is the head's product with a normed embedding. */
struct head_model {
    struct kl_gguf_tensor embedding;
    float *table;
    uint8_t *rows; /* Q8_0 */
    float norm[WIDTH];
    struct kl_model model;
};

static uint32_t random_state = 12345;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

static void pack(struct kl_matrix *m, enum kl_quant type, const uint8_t *rows)
{
    size_t bytes = kl_packed_group_bytes(type, WIDTH), n_groups = (N_VOCAB + 7) / 8;
    uint8_t *data = aligned_alloc(64, (n_groups * bytes + 63) / 64 * 64);
    assert_non_null(data);
    for (size_t g = 0; g < n_groups; g++) {
        size_t left = N_VOCAB - 8 * g;
        kl_pack_group(type, rows + 8 * g * ROW_BYTES, left < 8 ? left : 8, WIDTH, data + g * bytes);
    }
    *m = (struct kl_matrix){
        .type = type, .n_rows = N_VOCAB, .k = WIDTH, .n_groups = n_groups, .data = data};
}

/* scale: f16 bits of all blocks' scale, or 0: a different one for each */
static void make_model(struct head_model *h, const struct kl_kernels *kernels, uint16_t scale)
{
    memset(h, 0, sizeof *h);
    h->table = malloc(sizeof(float) * N_VOCAB * WIDTH);
    h->rows = malloc((size_t)N_VOCAB * ROW_BYTES);
    assert_non_null(h->table);
    assert_non_null(h->rows);
    for (size_t i = 0; i < (size_t)N_VOCAB * WIDTH; i++)
        h->table[i] =
            ((float)random_below(2001) - 1000.0f) * (random_below(50) == 0 ? 0.05f : 1e-3f);
    for (size_t b = 0; b < (size_t)N_VOCAB * BLOCKS; b++) {
        uint8_t *block = h->rows + 34 * b;
        uint16_t d = scale != 0 ? scale : (uint16_t)(0x1C00 + random_below(0x0800));
        memcpy(block, &d, 2);
        for (size_t i = 0; i < 32; i++)
            block[2 + i] = (uint8_t)random_below(256);
    }
    memcpy(h->rows + 77 * ROW_BYTES, h->rows + 4100 * ROW_BYTES, ROW_BYTES); /* equal logits */
    for (size_t i = 0; i < WIDTH; i++)
        h->norm[i] = 1.0f;
    h->embedding = (struct kl_gguf_tensor){
        .type = kl_quant_type(KL_F32), .n_dims = 2, .data = (const uint8_t *)h->table};
    h->model.kernels = kernels;
    h->model.config = (struct kl_config){.n_layers = 1,
                                         .n_embd = WIDTH,
                                         .n_ff = WIDTH,
                                         .n_heads = 2,
                                         .n_kv_heads = 1,
                                         .head_dim = 32,
                                         .n_vocab = N_VOCAB,
                                         .n_ctx_train = 4096,
                                         .rope_base = 10000.0,
                                         .rms_eps = 1e-6f};
    h->model.architecture = &nothing;
    h->model.embedding = &h->embedding;
    h->model.output_norm = h->norm;
    pack(&h->model.output, KL_Q8_HIGH, h->rows);
    pack(&h->model.output_low, KL_Q8_LOW, h->rows);
}

static void free_model(struct head_model *h)
{
    free((void *)h->model.output.data);
    free((void *)h->model.output_low.data);
    free(h->table);
    free(h->rows);
}

/* The bits that a want points to, and what was found for it. */
struct choice {
    struct kl_want want;
    struct kl_candidates found;
};

static bool has_bit(const uint64_t *set, size_t id)
{
    return (set[id / 64] >> (id % 64) & 1) != 0;
}

static bool is_penalized(const struct choice *c, size_t id)
{
    return c->want.penalized != NULL && has_bit(c->want.penalized, id);
}

static bool has_id(const struct kl_logit *logits, size_t n, size_t id)
{
    for (size_t i = 0; i < n; i++)
        if ((size_t)logits[i].id == id)
            return true;
    return false;
}

static bool is_raised(const struct choice *c, size_t id)
{
    return has_id(c->want.raised, c->want.n_raised, id);
}

static bool is_changed(const struct choice *c, size_t id)
{
    return is_penalized(c, id) || is_raised(c, id) ||
           has_id(c->want.lowered, c->want.n_lowered, id);
}

static bool is_allowed(const struct choice *c, size_t id)
{
    return c->want.all || c->want.allowed == NULL || has_bit(c->want.allowed, id);
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Returns the lowest logit of a candidate, by sorting all. */
static float threshold_of(const struct choice *c, const float *logits)
{
    static float sorted[N_VOCAB];
    size_t n = 0;
    for (size_t i = 0; i < c->want.n_vocab; i++)
        if (!is_changed(c, i) && is_allowed(c, i) && !isnan(logits[i]))
            sorted[n++] = logits[i];
    qsort(sorted, n, sizeof *sorted, descending);
    float threshold =
        c->want.top_k > 0 && c->want.top_k <= n ? sorted[c->want.top_k - 1] : -INFINITY;
    return n > 0 && sorted[0] - c->want.margin > threshold ? sorted[0] - c->want.margin : threshold;
}

static void check_choice(const struct choice *c, const float *logits)
{
    float threshold = threshold_of(c, logits);
    size_t at = 0;
    for (size_t id = 0; id < c->want.n_vocab; id++) {
        while (at < c->found.n && (size_t)c->found.logits[at].id < id)
            at++;
        bool found = at < c->found.n && (size_t)c->found.logits[at].id == id;
        if ((logits[id] >= threshold || is_raised(c, id) || c->want.all) && is_allowed(c, id))
            assert_true(found);
        if (!is_allowed(c, id))
            assert_false(found);
        if (found)
            assert_memory_equal(&c->found.logits[at].value, &logits[id], sizeof(float));
    }
    for (size_t i = 0; i < c->found.n; i++) {
        assert_in_range(c->found.logits[i].id, 0, c->want.n_vocab - 1);
        assert_true(i == 0 || c->found.logits[i].id > c->found.logits[i - 1].id);
    }
}

struct rows {
    struct kl_sequence *sequence;
    float *logits[MOST_ROWS];
    struct choice choices[MOST_ROWS];
    uint64_t penalized[MOST_ROWS][N_VOCAB / 64 + 1];
    uint64_t allowed[MOST_ROWS][N_VOCAB / 64 + 1];
    struct kl_logit lowered[MOST_ROWS][9], raised[MOST_ROWS][9];
};

/* Writes up to 9 ids, ascending; returns how many. */
static size_t some_ids(struct kl_logit *out, size_t n_vocab)
{
    size_t n = random_below(10);
    uint32_t room = (uint32_t)n_vocab / 9, at = random_below(2) == 0 ? room : 3;
    for (size_t i = 0, id = random_below(at); i < n; i++, id += 1 + random_below(at))
        out[i] = (struct kl_logit){.value = NAN, .id = (int32_t)(id < n_vocab ? id : n_vocab - 1)};
    while (n > 1 && out[n - 2].id == out[n - 1].id)
        n--;
    return n;
}

/* All tokens, every other one, some hundred, a few, or one. */
static void allow_some(struct rows *r, size_t i, int round)
{
    static const size_t counts[] = {0, N_VOCAB / 2, 300, 5, 1};
    size_t count = counts[(i * 3 + (size_t)round) % 5];
    struct kl_want *want = &r->choices[i].want;
    want->allowed = NULL;
    if (count == 0)
        return;
    memset(r->allowed[i], 0, sizeof r->allowed[i]);
    want->n_allowed = 0;
    for (size_t n = 0; n < count; n++) {
        size_t id = count > 1000 ? 2 * n : random_below((uint32_t)want->n_vocab);
        want->n_allowed += !has_bit(r->allowed[i], id);
        r->allowed[i][id / 64] |= (uint64_t)1 << (id % 64);
    }
    want->allowed = r->allowed[i];
}

static void make_choice(struct rows *r, size_t i, int round)
{
    static const struct {
        size_t top_k;
        float margin;
    } limits[] = {{1, INFINITY},
                  {20, INFINITY},
                  {0, 2.0f},
                  {40, 1.0f},
                  {256, INFINITY},
                  {3, 0.0f},
                  /* and without one */
                  {0, INFINITY},
                  {257, INFINITY}};
    struct choice *c = &r->choices[i];
    size_t kind = (i + (size_t)round) % 8;
    c->want.top_k = limits[kind].top_k;
    c->want.margin = limits[kind].margin;
    c->want.n_vocab = round % 4 == 3 ? N_VOCAB - 1000 : N_VOCAB;
    c->want.penalized = NULL;
    c->want.all = (i + (size_t)round) % 11 == 10;
    c->want.lowered = r->lowered[i];
    c->want.raised = r->raised[i];
    c->want.n_lowered = round % 2 == 0 ? 0 : some_ids(r->lowered[i], c->want.n_vocab);
    c->want.n_raised = round % 3 == 0 ? 0 : some_ids(r->raised[i], c->want.n_vocab);
    allow_some(r, i, round);
    if ((i + (size_t)round) % 3 == 0)
        return;
    memset(r->penalized[i], 0, sizeof r->penalized[i]);
    for (int n = 0; n < 500; n++) {
        size_t id = random_below(N_VOCAB);
        r->penalized[i][id / 64] |= (uint64_t)1 << (id % 64);
    }
    c->want.penalized = r->penalized[i];
}

static bool is_limited(const struct choice *c)
{
    return !c->want.all && c->want.top_k <= 256 && (c->want.top_k > 0 || c->want.margin < INFINITY);
}

/* Rows of the same tokens, once for all logits and once for choices; returns how many were found
 * for those with a limit. */
static size_t compare(struct kl_forward *f, struct rows *r, size_t n_rows, int round)
{
    struct kl_row rows[MOST_ROWS] = {0};
    for (size_t i = 0; i < n_rows; i++) {
        make_choice(r, i, round);
        rows[i] = (struct kl_row){.sequence = r->sequence,
                                  .token = (int32_t)random_below(N_VOCAB),
                                  .logits = r->logits[i]};
    }
    kl_sequence_truncate(r->sequence, 0);
    assert_int_equal(kl_sequence_reserve(r->sequence, MOST_ROWS, NULL), KL_OK);
    assert_int_equal(kl_forward_run(f, rows, n_rows, NULL, NULL, NULL), KL_OK);
    /* every other round with a row that wants nothing, and one that wants all */
    size_t silent = round % 2 == 0 ? n_rows : n_rows / 2, all = round % 5 == 4 ? 0 : n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        rows[i].logits = i == all ? r->logits[i] : NULL;
        bool wants = i != silent && i != all;
        rows[i].want = wants ? &r->choices[i].want : NULL;
        rows[i].candidates = wants ? &r->choices[i].found : NULL;
    }
    kl_sequence_truncate(r->sequence, 0);
    assert_int_equal(kl_sequence_reserve(r->sequence, MOST_ROWS, NULL), KL_OK);
    assert_int_equal(kl_forward_run(f, rows, n_rows, NULL, NULL, NULL), KL_OK);
    size_t found = 0;
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].candidates == NULL)
            continue;
        check_choice(&r->choices[i], r->logits[i]);
        found += is_limited(&r->choices[i]) ? r->choices[i].found.n : 0;
    }
    return found;
}

struct pass {
    struct head_model model;
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct rows rows;
};

static void pass_open(struct pass *p, const struct kl_kernels *kernels, uint16_t scale,
                      size_t n_threads)
{
    make_model(&p->model, kernels, scale);
    assert_int_equal(kl_forward_open(&p->model.model, MOST_ROWS, n_threads, &p->forward, NULL),
                     KL_OK);
    assert_int_equal(kl_kv_cache_open(&p->model.model, 64, &p->cache, NULL), KL_OK);
    assert_int_equal(kl_sequence_new(p->cache, &p->rows.sequence, NULL), KL_OK);
    for (size_t i = 0; i < MOST_ROWS; i++) {
        p->rows.logits[i] = malloc(N_VOCAB * sizeof(float));
        p->rows.choices[i].found =
            (struct kl_candidates){.logits = malloc((N_VOCAB + KL_LANES) * sizeof(struct kl_logit)),
                                   .room = N_VOCAB + KL_LANES};
        assert_non_null(p->rows.logits[i]);
        assert_non_null(p->rows.choices[i].found.logits);
    }
}

static void pass_close(struct pass *p)
{
    for (size_t i = 0; i < MOST_ROWS; i++) {
        free(p->rows.logits[i]);
        free(p->rows.choices[i].found.logits);
    }
    kl_sequence_free(p->rows.sequence);
    kl_kv_cache_close(p->cache);
    kl_forward_close(p->forward);
    free_model(&p->model);
}

static void check_model(const struct kl_kernels *kernels, uint16_t scale, size_t n_threads,
                        size_t most_found)
{
    static struct pass p;
    pass_open(&p, kernels, scale, n_threads);
    for (int round = 0; round < 40; round++) {
        size_t n_rows = 1 + (size_t)round % MOST_ROWS;
        /* they were screened, and did not simply find everything */
        assert_true(compare(p.forward, &p.rows, n_rows, round) <= n_rows * most_found);
    }
    pass_close(&p);
}

static void choices_are_exact(void **state)
{
    (void)state;
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        const struct kl_kernels *kernels;
        if (kl_kernels_select(kl_kernels_at(tier)->name, &kernels, NULL) != KL_OK)
            continue;
        for (size_t threads = 1; threads <= 3; threads += 2)
            check_model(kernels, 0, threads, 1500);
    }
}

/* Scales that are infinite or no number, from a damaged model: nothing is lost, nothing crashes. */
static void survives_what_is_no_number(void **state)
{
    (void)state;
    const struct kl_kernels *kernels;
    assert_int_equal(kl_kernels_select("auto", &kernels, NULL), KL_OK);
    check_model(kernels, 0x7C00, 2, N_VOCAB + KL_LANES);
    check_model(kernels, 0x7E00, 2, N_VOCAB + KL_LANES);
}

/* The real product by all bits, and how many groups of how many rows it was asked for. */
static const struct kl_kernels *counted;
static _Atomic(size_t) n_products;

static void count_products(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                           const struct kl_activations *x, float *y, size_t y_stride, void *scratch)
{
    atomic_fetch_add(&n_products, (end - begin) * x->n);
    counted->matmul_halves(high, low, begin, end, x, y, y_stride, scratch);
}

/* Each row pays for what it alone needs: one without a limit reads all bits of the head for itself,
 * and those beside it what they read when they are alone. */
static void a_row_without_a_limit_pays_alone(void **state)
{
    (void)state;
    enum { GREEDY = 10, N_GROUPS = (N_VOCAB + 7) / 8 };
    assert_int_equal(kl_kernels_select("auto", &counted, NULL), KL_OK);
    struct kl_kernels kernels = *counted;
    kernels.matmul_halves = count_products;
    static struct pass p;
    pass_open(&p, &kernels, 0, 2);
    size_t products[2];
    static struct kl_logit first[2][GREEDY];
    for (size_t hot = 0; hot < 2; hot++) {
        struct kl_row rows[MOST_ROWS] = {0};
        for (size_t i = 0; i < GREEDY + hot; i++) {
            /* the hot one stands in the middle */
            bool is_hot = hot > 0 && i == GREEDY / 2;
            size_t at = is_hot ? GREEDY : i - (hot > 0 && i > GREEDY / 2);
            struct choice *c = &p.rows.choices[at];
            c->want.n_vocab = N_VOCAB;
            c->want.penalized = NULL;
            c->want.top_k = is_hot ? 0 : 1;
            c->want.margin = INFINITY;
            rows[i] = (struct kl_row){.sequence = p.rows.sequence,
                                      .token = (int32_t)(at * 97 + 5),
                                      .want = &c->want,
                                      .candidates = &c->found};
        }
        kl_sequence_truncate(p.rows.sequence, 0);
        assert_int_equal(kl_sequence_reserve(p.rows.sequence, MOST_ROWS, NULL), KL_OK);
        atomic_store(&n_products, 0);
        assert_int_equal(kl_forward_run(p.forward, rows, GREEDY + hot, NULL, NULL, NULL), KL_OK);
        products[hot] = atomic_load(&n_products);
        for (size_t i = 0; i < GREEDY; i++) {
            assert_in_range(p.rows.choices[i].found.n, 1, 100);
            first[hot][i] = p.rows.choices[i].found.logits[0];
        }
    }
    assert_int_equal(p.rows.choices[GREEDY].found.n, N_VOCAB);
    assert_memory_equal(first[0], first[1], sizeof first[0]);
    assert_in_range(products[0], 1, GREEDY * N_GROUPS / 10);
    assert_int_equal(products[1], products[0] + N_GROUPS);
    pass_close(&p);
}

static kl_matmul_fn *high_product;
static _Atomic(size_t) n_high_groups;

static void count_high(const uint8_t *w, size_t begin, size_t end, const struct kl_activations *x,
                       float *y, size_t y_stride, void *scratch)
{
    atomic_fetch_add(&n_high_groups, end - begin);
    high_product(w, begin, end, x, y, y_stride, scratch);
}

/* Returns how many groups of the upper bits a pass of n rows reads. */
static size_t groups_read(struct pass *p, const struct kl_row *rows, size_t n)
{
    kl_sequence_truncate(p->rows.sequence, 0);
    assert_int_equal(kl_sequence_reserve(p->rows.sequence, n, NULL), KL_OK);
    atomic_store(&n_high_groups, 0);
    assert_int_equal(kl_forward_run(p->forward, rows, n, NULL, NULL, NULL), KL_OK);
    return atomic_load(&n_high_groups);
}

/* Bounds are computed for the groups that some row allows, and for no others. */
static void groups_without_an_allowed_token_are_not_read(void **state)
{
    (void)state;
    enum { N_GROUPS = (N_VOCAB + 7) / 8 };
    const struct kl_kernels *best;
    assert_int_equal(kl_kernels_select("auto", &best, NULL), KL_OK);
    struct kl_kernels kernels = *best;
    high_product = best->matmul[KL_Q8_HIGH];
    kernels.matmul[KL_Q8_HIGH] = count_high;
    static struct pass p;
    pass_open(&p, &kernels, 0, 2);
    /* of the first row the groups 1, 5 and the last one; of the second 5 and 9; the third is free
     */
    static const size_t ids[2][4] = {{8, 13, 43, N_VOCAB - 1}, {40, 79, 79, 79}};
    struct kl_row rows[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        struct choice *c = &p.rows.choices[i];
        c->want = (struct kl_want){.n_vocab = N_VOCAB, .top_k = 1, .margin = INFINITY};
        memset(p.rows.allowed[i], 0, sizeof p.rows.allowed[i]);
        for (size_t k = 0; k < 4 && i < 2; k++)
            p.rows.allowed[i][ids[i][k] / 64] |= (uint64_t)1 << (ids[i][k] % 64);
        c->want.allowed = i < 2 ? p.rows.allowed[i] : NULL;
        c->want.n_allowed = i == 0 ? 4 : 2;
        rows[i] = (struct kl_row){.sequence = p.rows.sequence,
                                  .token = (int32_t)i,
                                  .want = &c->want,
                                  .candidates = &c->found};
    }
    assert_int_equal(groups_read(&p, rows, 1), 3);
    assert_int_equal(groups_read(&p, rows, 2), 4);
    assert_int_equal(groups_read(&p, rows, 3), N_GROUPS);
    assert_in_range(p.rows.choices[0].found.n, 1, 4);
    assert_in_range(p.rows.choices[1].found.n, 1, 2);
    pass_close(&p);
}

/* Too little room is reported, and costs the other rows nothing. */
static void too_little_room_overflows(void **state)
{
    (void)state;
    const struct kl_kernels *kernels;
    assert_int_equal(kl_kernels_select("auto", &kernels, NULL), KL_OK);
    static struct pass p;
    pass_open(&p, kernels, 0, 2);
    struct kl_row rows[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        struct choice *c = &p.rows.choices[i];
        c->want = (struct kl_want){.n_vocab = N_VOCAB, .top_k = i < 2 ? 1 : 0, .margin = INFINITY};
        c->found.room = i % 2 == 0 ? N_VOCAB + KL_LANES : 8;
        rows[i] = (struct kl_row){.sequence = p.rows.sequence,
                                  .token = (int32_t)i,
                                  .want = &c->want,
                                  .candidates = &c->found};
    }
    assert_int_equal(kl_sequence_reserve(p.rows.sequence, 4, NULL), KL_OK);
    assert_int_equal(kl_forward_run(p.forward, rows, 4, NULL, NULL, NULL), KL_OK);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(p.rows.choices[i].found.overflow, i % 2 == 1);
        assert_int_equal(p.rows.choices[i].found.n > 0, i % 2 == 0);
        p.rows.choices[i].found.room = N_VOCAB + KL_LANES;
    }
    pass_close(&p);
}

/* A row whose model has no layers has what the embedding table has for its token, normed; with or
 * without outputs of the head. */
static void hidden_vectors_are_given_back(void **state)
{
    (void)state;
    const struct kl_kernels *kernels;
    assert_int_equal(kl_kernels_select("auto", &kernels, NULL), KL_OK);
    static struct pass p;
    pass_open(&p, kernels, 0, 2);
    float hidden[WIDTH], expected[WIDTH], entry[WIDTH];
    struct kl_row rows[3] = {0};
    for (size_t i = 0; i < 3; i++)
        rows[i] = (struct kl_row){
            .sequence = p.rows.sequence, .token = (int32_t)(i * 1000), .hidden = i > 0};
    rows[2].logits = p.rows.logits[0];
    assert_int_equal(kl_sequence_reserve(p.rows.sequence, 3, NULL), KL_OK);
    assert_int_equal(kl_forward_run(p.forward, rows, 3, NULL, NULL, NULL), KL_OK);
    const struct kl_gguf_tensor *t = p.model.model.embedding;
    size_t n_blocks = WIDTH / t->type->block_elements;
    for (size_t i = 1; i < 3; i++) {
        t->type->dequantize(t->data + i * 1000 * n_blocks * t->type->block_bytes, n_blocks, entry);
        kernels->rmsnorm(entry, p.model.norm, WIDTH, p.model.model.config.rms_eps, expected);
        kl_forward_hidden(p.forward, i, hidden);
        assert_memory_equal(hidden, expected, sizeof expected);
    }
    pass_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_exact),
        cmocka_unit_test(survives_what_is_no_number),
        cmocka_unit_test(a_row_without_a_limit_pays_alone),
        cmocka_unit_test(groups_without_an_allowed_token_are_not_read),
        cmocka_unit_test(too_little_room_overflows),
        cmocka_unit_test(hidden_vectors_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

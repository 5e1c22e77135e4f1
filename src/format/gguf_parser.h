/*
 * The inside of an open GGUF file, shared by the files gguf*.c only; everything else uses gguf.h.
 *
 *   gguf.c           opens and closes
 *   gguf_head.c      one file: its head (magic, version, counts) and what follows
 *   gguf_metadata.c  the keys and values
 *   gguf_tensors.c   the tensor directory
 *   gguf_split.c     a model in several files
 *   gguf_survey.c    the number types of a file that is refused
 *   gguf_parser.c    the reads and error texts that these share
 *
 * A parser lives only while kl_gguf_open() runs, on the caller's thread. Error texts name the
 * key or tensor and the byte; the caller puts the path before them.
 */
#ifndef KL_FORMAT_GGUF_PARSER_H
#define KL_FORMAT_GGUF_PARSER_H

#include "base/bytes.h"
#include "format/gguf.h"

/* Everything before the tensor data: Qwen2.5-0.5B has 5.9 MB. Low enough that a hostile file costs
 * neither memory nor time. */
#define KL_GGUF_MAX_METADATA ((size_t)64 << 20)

/* Far above what a model has (Qwen2.5-0.5B: 291). */
#define KL_GGUF_MAX_TENSORS 4096

/* Arguments for "%.*s" in error texts. Names were checked to be printable; 80 bytes of one leave
 * room for the rest of the sentence. */
#define KL_GGUF_SHOW(s) (int)((s).len < 80 ? (s).len : 80), (s).data

/* A key and its value; a single value is kept as an array of one. */
struct kl_gguf_entry {
    struct kl_gguf_string key;
    bool is_array;
    struct kl_gguf_array values;
};

/* A tensor and where its data begin. */
struct kl_gguf_place {
    struct kl_gguf_tensor tensor;
    uint64_t offset; /* from the start of the tensor data */
};

struct kl_gguf {
    struct kl_mapped_file file;
    uint64_t header_hash; /* of the bytes before the tensor data */
    size_t n_tensors;
    struct kl_gguf_place *places;   /* [n_tensors] in the order of the file */
    struct kl_gguf_place **by_name; /* [n_tensors] the same, sorted; set when all is read */
    size_t n_entries;
    struct kl_gguf_entry *entries; /* [n_entries] sorted by key */
};

/* The state of reading the bytes before the tensor data of one file, from the first to the last. */
struct kl_gguf_parser {
    struct kl_gguf *gguf; /* of this file alone */
    const uint8_t *data;  /* the file */
    size_t size;
    struct kl_reader reader;
    size_t header_size; /* bytes before the tensor data */
    struct kl_error *err;
};

/* ---- gguf_head.c ----------------------------------------------------------------------------- */

/* Reads the magic number, the version and the counts. */
enum kl_status kl_gguf_read_head(struct kl_gguf_parser *p);
/* Reads the i-th file of g->file into `one`, which is g itself for the first. The metadata of all
 * files together may have *budget bytes, of which it takes those of this file. Errors begin with
 * the path of the file. */
enum kl_status kl_gguf_read_file(const struct kl_gguf *g, size_t i, struct kl_gguf *one,
                                 size_t *budget, struct kl_error *err);
/* Frees all that kl_gguf_read_file() made. */
void kl_gguf_forget(struct kl_gguf *one);

/* ---- gguf_split.c ---------------------------------------------------------------------------- */

/* For a g whose first file was read: reads the others, if it is the first part of a model in
 * several files. KL_ERR_UNSUPPORTED: it is another part, or not found under the name of a part. */
enum kl_status kl_gguf_read_parts(struct kl_gguf *g, const char *path, struct kl_error *err);

/* ---- gguf_parser.c --------------------------------------------------------------------------- */

bool kl_gguf_same(struct kl_gguf_string a, struct kl_gguf_string b);
/* Below, equal to or above 0, as memcmp(); a shorter string sorts before a longer one. */
int kl_gguf_compare(struct kl_gguf_string a, struct kl_gguf_string b);

/* Refuses the file because too few bytes are left for `what`: KL_ERR_LIMIT when the metadata are
 * too large, otherwise KL_ERR_FORMAT. */
enum kl_status kl_gguf_fail_short(struct kl_gguf_parser *p, const char *what);

/* Each reads the next value; `what` names it in error texts ("n_dims"). */
enum kl_status kl_gguf_read_u32(struct kl_gguf_parser *p, const char *what, uint32_t *out);
enum kl_status kl_gguf_read_u64(struct kl_gguf_parser *p, const char *what, uint64_t *out);
/* A string of low..high bytes. */
enum kl_status kl_gguf_read_string(struct kl_gguf_parser *p, const char *what, uint64_t low,
                                   uint64_t high, struct kl_gguf_string *out);
/* The name of a key or a tensor: 1..max bytes of printable ASCII, so that it can be shown. */
enum kl_status kl_gguf_read_name(struct kl_gguf_parser *p, const char *what, uint64_t max,
                                 struct kl_gguf_string *out);

/* ---- gguf_metadata.c ------------------------------------------------------------------------- */

/* Reads and sorts gguf->n_entries keys and their values; keys must be unique. */
enum kl_status kl_gguf_read_entries(struct kl_gguf_parser *p);
/* The alignment of the tensor data in bytes: general.alignment, or 32. */
enum kl_status kl_gguf_find_alignment(struct kl_gguf_parser *p, uint64_t *alignment);

/* ---- gguf_tensors.c -------------------------------------------------------------------------- */

/* The name of a type that kinglet does not read (enum ggml_type), for refusals; "unknown". */
const char *kl_gguf_foreign_type(uint32_t id);
/* Reads gguf->n_tensors names, shapes, types and offsets. */
enum kl_status kl_gguf_read_tensors(struct kl_gguf_parser *p, uint64_t alignment);
/* Sets the data of every tensor and checks that they lie inside the file and do not overlap.
 * header_size must be known. */
enum kl_status kl_gguf_place_tensors(struct kl_gguf_parser *p);
/* Makes by_name, and checks that names are unique. */
enum kl_status kl_gguf_sort_tensors(struct kl_gguf *g, struct kl_error *err);

#endif

/* kinglet schema: compiles a JSON schema, and judges instances by it. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/foreign_text.h"
#include "cli/commands.h"
#include "console/input.h"
#include "console/options.h"
#include "load/load.h"
#include "schema/trial.h"
#include "schema/trial_report.h"
#include "schema/trial_set.h"

/* Bytes of an instance that are shown before and behind the place of a refusal. */
enum { SHOWN_BEFORE = 40, SHOWN_BEHIND = 20 };

#define OUTPUT_CAP ((size_t)256 << 20)

struct schema_options {
    struct kl_load_options load;
    const char *instances;
    bool answer, json;
};

typedef enum kl_status read_function(const char *text, size_t len, struct kl_trial_set *set,
                                     struct kl_error *err);

/* Reads a file into *set. */
static enum kl_status read_set(const char *path, read_function *read, struct kl_trial_set *set,
                               struct kl_error *err)
{
    struct kl_buffer text;
    kl_buffer_init(&text, KL_TRIAL_MAX_FILE);
    enum kl_status status = kl_read_text(path, &text, err);
    if (status == KL_OK) {
        status = read(text.data, text.len, set, err);
        if (status != KL_OK)
            kl_error_prefix(err, "%.200s", path);
    }
    kl_buffer_release(&text);
    return status;
}

/* ---- one schema ------------------------------------------------------------------------------ */

/* Prints a part of a text in quotes, safe for a terminal and cut between two characters. */
static void print_part(struct kl_printer *out, struct kl_json_span text, size_t from, size_t to)
{
    char line[4 * (SHOWN_BEFORE + SHOWN_BEHIND)];
    while (from > 0 && from < to && (text.text[from] & 0xC0) == 0x80)
        from++;
    while (to > from && to < text.len && (text.text[to] & 0xC0) == 0x80)
        to--;
    kl_foreign_line(text.text + from, to - from, line, sizeof line);
    kl_print(out, "'%s'", line);
}

static void print_instance(struct kl_printer *out, size_t i, struct kl_json_span text,
                           const struct kl_trial_instance *instance)
{
    size_t at = instance->stopped_at, from = at > SHOWN_BEFORE ? at - SHOWN_BEFORE : 0;
    if (instance->accepted) {
        kl_print(out, "%zu: accepted, %zu tokens\n", i + 1, instance->tokens);
        return;
    }
    kl_print(out, "%zu: refused at byte %zu: ", i + 1, at);
    if (at > 0)
        print_part(out, text, from, at);
    if (at == text.len) {
        kl_print(out, " may not end here\n");
        return;
    }
    kl_print(out, at > 0 ? " may not continue with " : "it may not begin with ");
    print_part(out, text, at, text.len - at > SHOWN_BEHIND ? at + SHOWN_BEHIND : text.len);
    kl_print(out, "\n");
}

static enum kl_status print_trial(const struct schema_options *o, const char *path,
                                  const struct kl_trial_set *set, struct kl_trial *trial,
                                  struct kl_error *err)
{
    struct kl_printer out;
    kl_printer_init(&out, OUTPUT_CAP);
    if (o->json) {
        kl_trial_write_json(trial, NULL, &out);
    } else if (trial->error.status == KL_OK) {
        char name[256];
        kl_foreign_line(path, strlen(path), name, sizeof name);
        kl_print(&out, "%s: every keyword is supported %s (%zu states, compiled in %.3f ms)\n",
                 name, o->answer ? "for answers" : "as specified", trial->states,
                 trial->compile_us * 1e-3);
        for (size_t i = 0; i < trial->n_instances; i++)
            print_instance(&out, i, set->texts[i], &trial->instances[i]);
    }
    enum kl_status status = kl_printer_write(&out, stdout, "the result", err);
    kl_printer_release(&out);
    if (status == KL_OK && !o->json && trial->error.status != KL_OK) {
        *err = trial->error;
        kl_error_prefix(err, "%.200s", path);
        status = err->status;
    }
    return status;
}

static enum kl_status judge_file(const struct kl_trial_tools *tools, const struct schema_options *o,
                                 const char *path, struct kl_error *err)
{
    struct kl_trial_set set = {0};
    enum kl_status status = read_set(path, kl_trial_read_schema, &set, err);
    if (status == KL_OK && o->instances != NULL)
        status = read_set(o->instances, kl_trial_read_instances, &set, err);
    if (status == KL_OK) {
        struct kl_trial trial;
        status = kl_trial_run(tools, set.schema, set.texts, set.n, &trial, err);
        if (status == KL_OK)
            status = print_trial(o, path, &set, &trial, err);
        kl_trial_release(&trial);
    }
    kl_trial_set_release(&set);
    return status;
}

/* ---- a directory ----------------------------------------------------------------------------- */

static int is_json(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + len - 5, ".json") == 0;
}

/* Judges the tests of one file and prints a line, which also names a fault of the file. */
static enum kl_status judge_tests(const struct kl_trial_tools *tools, const char *path,
                                  const char *name, struct kl_trial_summary *summary,
                                  struct kl_error *err)
{
    struct kl_trial_set set = {0};
    struct kl_trial trial = {0};
    struct kl_printer out;
    kl_printer_init(&out, OUTPUT_CAP);
    enum kl_status status = read_set(path, kl_trial_read_tests, &set, &trial.error);
    if (status == KL_OK) {
        status = kl_trial_run(tools, set.schema, set.texts, set.n, &trial, err);
        if (status == KL_OK)
            status = kl_trial_summary_add(summary, &trial, set.valid, err);
        else
            kl_error_prefix(err, "%.200s", path);
    } else {
        summary->unreadable++;
        status = KL_OK;
    }
    kl_trial_write_json(&trial, name, &out);
    if (status == KL_OK)
        status = kl_printer_write(&out, stdout, "the result", err);
    kl_printer_release(&out);
    kl_trial_release(&trial);
    kl_trial_set_release(&set);
    return status;
}

static enum kl_status print_summary(struct kl_trial_summary *summary, const char *directory,
                                    struct kl_error *err)
{
    struct kl_printer out;
    kl_printer_init(&out, OUTPUT_CAP);
    kl_trial_summary_write(summary, &out);
    fflush(stdout);
    enum kl_status status = kl_printer_write(&out, stderr, "the table", err);
    kl_printer_release(&out);
    if (status == KL_OK && summary->unreadable > 0)
        status = kl_fail(err, KL_ERR_FORMAT, "%zu files of %.200s could not be read",
                         summary->unreadable, directory);
    return status;
}

static enum kl_status judge_directory(const struct kl_trial_tools *tools, const char *directory,
                                      struct kl_error *err)
{
    static struct kl_trial_summary summary;
    struct dirent **entries;
    int n = scandir(directory, &entries, is_json, alphasort);
    if (n < 0)
        return kl_fail_errno(err, "cannot read the directory %.200s", directory);
    enum kl_status status = KL_OK;
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        if (status == KL_OK && (size_t)snprintf(path, sizeof path, "%s/%s", directory,
                                                entries[i]->d_name) >= sizeof path)
            status =
                kl_fail(err, KL_ERR_INVALID, "the path of %.200s is too long", entries[i]->d_name);
        if (status == KL_OK)
            status = judge_tests(tools, path, entries[i]->d_name, &summary, err);
        free(entries[i]);
    }
    free(entries);
    if (status == KL_OK && n == 0)
        status = kl_fail(err, KL_ERR_NOT_FOUND, "%.200s has no file *.json", directory);
    if (status == KL_OK)
        status = print_summary(&summary, directory, err);
    kl_trial_summary_release(&summary);
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum kl_status judge(const struct kl_loaded *loaded, const struct schema_options *o,
                            const char *path, bool is_directory, struct kl_error *err)
{
    struct kl_token_trie *trie;
    enum kl_status status = kl_token_trie_open(loaded->tokenizer, &trie, err);
    if (status != KL_OK)
        return status;
    const struct kl_trial_tools tools = {.tokenizer = loaded->tokenizer,
                                         .trie = trie,
                                         .reading = o->answer ? KL_SCHEMA_ANSWER : KL_SCHEMA_JUDGE};
    status = is_directory ? judge_directory(&tools, path, err) : judge_file(&tools, o, path, err);
    kl_token_trie_close(trie);
    return status;
}

static enum kl_status check_arguments(const struct schema_options *o, const char *path,
                                      bool *is_directory, struct kl_error *err)
{
    struct stat file;
    if (path == NULL)
        return kl_fail(err, KL_ERR_INVALID, "give a file with a JSON schema, or a directory");
    *is_directory = strcmp(path, "-") != 0 && stat(path, &file) == 0 && S_ISDIR(file.st_mode);
    if (*is_directory && o->instances != NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "--instances is for one schema; the files of a directory bring theirs");
    return KL_OK;
}

static void add_options(struct kl_option_table *table, struct schema_options *o)
{
    const struct kl_option rows[] = {
        {"instances", 'i', KL_OPTION_STRING, "FILE",
         "judge the values in this file: one JSON array, or JSON lines", &o->instances, 0, 0},
        {"answer", 'a', KL_OPTION_FLAG, NULL,
         "judge by the rule that the model's answers follow: properties in the order of the "
         "schema, no others unless it allows them, one space after ':' and ','",
         &o->answer, 0, 0},
        {"json", 0, KL_OPTION_FLAG, NULL,
         "print one JSON object; a schema that is not supported is its \"error\"", &o->json, 0, 0},
    };
    kl_load_add_model_option(table, &o->load);
    kl_options_add(table, rows, sizeof rows / sizeof rows[0]);
}

int kl_run_schema(int argc, char **argv)
{
    struct schema_options o = {0};
    struct kl_option_table table = {0};
    add_options(&table, &o);
    const struct kl_command_line line = {
        .command = "schema",
        .arguments = "FILE|DIRECTORY",
        .max_arguments = 1,
        .about = "Compiles a JSON schema (drafts 4, 6, 7, 2019-09, 2020-12) and says whether "
                 "everything in it is supported. With --instances, tells for each value whether "
                 "the schema accepts it token by token, and where not.",
        .options = table.rows,
        .n_options = table.n,
        .notes =
            "A value is judged as Python's json.dumps(value, ensure_ascii=False) writes\n"
            "it; places are byte offsets in that text. The model's tokenizer is used, its\n"
            "weights are not read.\n\n"
            "In a DIRECTORY each file *.json is {\"schema\": ..., \"tests\": [{\"valid\": true,\n"
            "\"data\": ...}]}. A JSON object for each is printed on one line, and on standard\n"
            "error how many are right and how long it took.",
    };
    size_t n;
    int code;
    bool is_directory;
    struct kl_error err = {0};
    struct kl_loaded loaded;
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (check_arguments(&o, n > 0 ? argv[1] : NULL, &is_directory, &err) != KL_OK)
        return kl_report("schema", &err);
    if (kl_load(&loaded, &o.load, KL_LOAD_TOKENIZER, &err) != KL_OK)
        return kl_load_report("schema", &err);
    enum kl_status status = judge(&loaded, &o, argv[1], is_directory, &err);
    kl_unload(&loaded);
    return status == KL_OK ? KL_EXIT_OK : kl_report("schema", &err);
}

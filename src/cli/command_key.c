/* kinglet key: the API keys of a file, each with the name of whom it belongs to. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "console/key_edit.h"
#include "console/key_file.h"
#include "console/options.h"
#include "console/page_address.h"
#include "console/qr_code.h"
#include "console/terminal.h"

#define QR_CAP ((size_t)1 << 20)

struct key_options {
    const char *file, *url;
    bool qr;
};

/* Says how a server gets the new state of the file. */
static void explain_reload(const char *file)
{
    if (strcmp(file, KL_KEY_FILE_DEFAULT) == 0)
        fputs("The service reads the file when it starts: systemctl restart kinglet\n", stderr);
    fprintf(stderr,
            "A server that runs with --api-key-file %s\nreads it again at SIGHUP: kill -HUP PID\n",
            file);
}

/* Prints the code of an address, or why there is none. */
static void print_qr(const char *address)
{
    struct kl_printer code;
    struct kl_error err = {0};
    bool terminal = isatty(STDOUT_FILENO) == 1;
    kl_printer_init(&code, QR_CAP);
    kl_print(&code, "\n");
    enum kl_status status = kl_qr_code_print(
        &code, address, terminal ? kl_terminal_columns(STDOUT_FILENO) : 0, terminal, &err);
    kl_print(&code, "\n");
    if (status == KL_OK)
        status = kl_printer_write(&code, stdout, "the QR code", &err);
    fflush(stdout);
    if (status != KL_OK)
        fprintf(stderr, "No QR code: %s\n", err.text);
    else
        fputs("Scan the code with the camera of a phone, or open the address; both contain the "
              "key.\n",
              stderr);
    kl_printer_release(&code);
}

static enum kl_status add(const struct key_options *o, const char *name, struct kl_error *err)
{
    char key[KL_NEW_KEY], fingerprint[KL_KEY_FINGERPRINT], url[KL_PAGE_URL];
    char address[KL_PAGE_URL + sizeof "/#key=" + KL_NEW_KEY];
    size_t n_of_name;
    bool reachable = o->url != NULL || kl_page_address(url);
    enum kl_status status = o->url != NULL ? kl_page_url_read(o->url, url, err) : KL_OK;
    if (status == KL_OK)
        status = kl_key_add(o->file, name, key, &n_of_name, err);
    if (status != KL_OK)
        return status;
    snprintf(address, sizeof address, "%s/#key=%s", url, key);
    puts(address);
    fflush(stdout);
    if (!reachable)
        fputs("No QR code: only this computer or container reaches that address. Give the one "
              "that\nother devices use: --url http://BOX:7860\n",
              stderr);
    else if (o->qr || isatty(STDOUT_FILENO) == 1)
        print_qr(address);
    kl_key_fingerprint(key, fingerprint);
    fprintf(stderr, "%s: the key with the fingerprint %s is in %s.\n", name, fingerprint, o->file);
    if (n_of_name > 1)
        fprintf(stderr,
                "%s has %zu keys, which share what belongs to the name; 'kinglet key\nremove "
                "FINGERPRINT' removes one.\n",
                name, n_of_name);
    explain_reload(o->file);
    fputs("Other devices reach it only if it was started with --host 0.0.0.0, too.\n", stderr);
    return KL_OK;
}

static enum kl_status list(const struct key_options *o, struct kl_error *err)
{
    struct kl_api_keys keys;
    char fingerprint[KL_KEY_FINGERPRINT];
    enum kl_status status = kl_api_keys_load(o->file, &keys, err);
    if (status == KL_OK)
        printf("%-11s  %s\n", "FINGERPRINT", "NAME");
    for (size_t i = 0; i < keys.n && status == KL_OK; i++) {
        kl_key_fingerprint(keys.keys[i].key, fingerprint);
        printf("%-11s  %s\n", fingerprint, keys.keys[i].name[0] != '\0' ? keys.keys[i].name : "-");
    }
    kl_api_keys_release(&keys);
    return status;
}

static enum kl_status remove_keys(const struct key_options *o, const char *which,
                                  struct kl_error *err)
{
    size_t n_removed, n_left;
    enum kl_status status = kl_key_remove(o->file, which, &n_removed, &n_left, err);
    if (status != KL_OK)
        return status;
    printf("Removed %zu key%s of %s; %s has %zu.\n", n_removed, n_removed == 1 ? "" : "s", which,
           o->file, n_left);
    fflush(stdout);
    if (n_left > 0)
        explain_reload(o->file);
    else
        fputs("It was the last one. A server that runs does not accept a file without keys: it "
              "keeps the\nremoved key until it is stopped.\n",
              stderr);
    return KL_OK;
}

int kl_run_key(int argc, char **argv)
{
    struct key_options o = {.file = KL_KEY_FILE_DEFAULT};
    const struct kl_option table[] = {
        {"file", 0, KL_OPTION_STRING, "FILE", "the file with the keys", &o.file, 0, 0},
        {"url", 0, KL_OPTION_STRING, "URL",
         "add: the address of the page, as a phone reaches it; otherwise the first address of this "
         "computer in a network, with port 7860",
         &o.url, 0, 0},
        {"qr", 0, KL_OPTION_FLAG, NULL,
         "add: print the QR code even if standard output is not a terminal", &o.qr, 0, 0},
    };
    const struct kl_command_line line = {
        .command = "key",
        .arguments = "add NAME | list | remove NAME",
        .max_arguments = 2,
        .about =
            "Changes the file of API keys that 'kinglet serve --api-key-file FILE' reads. 'add' "
            "makes a key for a name and prints the address of the page with it, on a terminal "
            "as a QR code, too; a second key of a name is one more. 'list' shows names and "
            "fingerprints, never keys. 'remove' removes all keys of a name, or the key with a "
            "fingerprint.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
        .notes =
            "A line of the file is KEY or KEY NAME; lines that begin with # are comments.\nWhat a "
            "server keeps for a client (computed prompts, answers, chats) belongs to\nthe name: "
            "changing the key of a name keeps it, and all keys of a name share it.\nA fingerprint "
            "is the beginning of the key's SHA-256.\n\nA server that runs reads the file again at "
            "SIGHUP. The service of the Debian\npackage has a copy of " KL_KEY_FILE_DEFAULT
            ", made when it starts:\nsystemctl restart kinglet.",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    enum kl_status status;
    if (n == 2 && strcmp(argv[1], "add") == 0)
        status = add(&o, argv[2], &err);
    else if (n == 2 && strcmp(argv[1], "remove") == 0)
        status = remove_keys(&o, argv[2], &err);
    else if (n == 1 && strcmp(argv[1], "list") == 0)
        status = list(&o, &err);
    else
        status =
            kl_fail(&err, KL_ERR_INVALID, "expected add NAME, list or remove NAME, found %s%s%s",
                    n > 0 ? "'" : "nothing", n > 0 ? argv[1] : "",
                    n == 0  ? ""
                    : n > 1 ? "' and a name"
                            : "' without a name");
    return status == KL_OK ? KL_EXIT_OK : kl_report("key", &err);
}

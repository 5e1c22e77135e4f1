#include "http/origins.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ORIGIN 300 /* a scheme, a name of 255 bytes, a port */

struct origin {
    char text[MAX_ORIGIN]; /* the others point into it */
    const char *scheme, *name, *port;
};

/* Splits "scheme://name:port" into lower-case parts. name may be empty ("file://"), port is ""
 * without one. Returns false if it is no such text. */
static bool split(const char *text, struct origin *o)
{
    size_t len = strlen(text);
    if (len >= sizeof o->text)
        return false;
    for (size_t i = 0; i <= len; i++)
        o->text[i] = (char)tolower((unsigned char)text[i]);
    char *mark = strstr(o->text, "://");
    if (mark == NULL || mark == o->text)
        return false;
    *mark = '\0';
    o->scheme = o->text;
    if (strspn(o->scheme, "abcdefghijklmnopqrstuvwxyz0123456789+.-") != strlen(o->scheme))
        return false;
    char *name = mark + 3, *end = name + strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    if (*name == '[') {
        end = name + 1 + strspn(name + 1, "abcdef0123456789:.");
        if (*end++ != ']')
            return false;
    }
    o->name = name;
    o->port = "";
    if (*end == '\0')
        return true;
    if (*end != ':' || end == name)
        return false;
    *end = '\0';
    o->port = end + 1;
    size_t n_digits = strspn(o->port, "0123456789");
    return n_digits > 0 && n_digits <= 5 && o->port[n_digits] == '\0';
}

static bool is_web(const struct origin *o)
{
    return strcmp(o->scheme, "http") == 0 || strcmp(o->scheme, "https") == 0;
}

/* Writes "scheme://name:port" without the usual port of the scheme, which browsers omit. */
static void write_normal(const struct origin *o, char out[MAX_ORIGIN])
{
    const char *usual = strcmp(o->scheme, "https") == 0  ? "443"
                        : strcmp(o->scheme, "http") == 0 ? "80"
                                                         : "";
    bool has_port = o->port[0] != '\0' && strcmp(o->port, usual) != 0;
    snprintf(out, MAX_ORIGIN, "%s://%s%s%s", o->scheme, o->name, has_port ? ":" : "",
             has_port ? o->port : "");
}

static enum kl_status add(struct kl_origins *origins, const char *name, struct kl_error *err)
{
    struct origin o;
    if (strcmp(name, "apps") == 0) {
        origins->apps = true;
        return KL_OK;
    }
    if (strcmp(name, "*") == 0 || strcmp(name, "null") == 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "--allow-origin %s: any web page could use this server through the browsers "
                       "of its visitors; name the sites, as in https://chat.example, or apps for "
                       "desktop apps, browser extensions and pages of this computer",
                       name);
    if (!split(name, &o) || (is_web(&o) && o.name[0] == '\0'))
        return kl_fail(err, KL_ERR_INVALID,
                       "--allow-origin %s: an origin has a scheme, a host and perhaps a port, and "
                       "no path, as in https://chat.example or http://box.lan:3000; \"apps\" is "
                       "the group of all desktop apps",
                       name);
    char text[MAX_ORIGIN];
    write_normal(&o, text);
    origins->exact[origins->n] = strdup(text);
    if (origins->exact[origins->n] == NULL)
        return kl_fail_memory(err, "an allowed origin", strlen(text));
    origins->n++;
    return KL_OK;
}

enum kl_status kl_origins_init(struct kl_origins *origins, const char *const *names, size_t n,
                               struct kl_error *err)
{
    *origins = (struct kl_origins){0};
    origins->exact = calloc(n + 1, sizeof *origins->exact);
    if (origins->exact == NULL)
        return kl_fail_memory(err, "the list of origins", (n + 1) * sizeof *origins->exact);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = add(origins, names[i], err);
    return status;
}

void kl_origins_release(struct kl_origins *origins)
{
    for (size_t i = 0; i < origins->n; i++)
        free(origins->exact[i]);
    free(origins->exact);
    *origins = (struct kl_origins){0};
}

static bool ends_with(const char *text, const char *ending)
{
    size_t len = strlen(text), n = strlen(ending);
    return len > n && strcmp(text + len - n, ending) == 0;
}

/* The schemes are those that Ollama's clients have. Only software that was installed on the
 * computer of a user can have such an origin, or serve a page under the names of it. */
static bool is_app(const struct origin *o)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]", "tauri.localhost"};
    if (is_web(o)) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (strcmp(o->name, names[i]) == 0)
                return true;
        }
        return false;
    }
    return strcmp(o->scheme, "app") == 0 || strcmp(o->scheme, "tauri") == 0 ||
           strcmp(o->scheme, "file") == 0 || strncmp(o->scheme, "vscode-", 7) == 0 ||
           ends_with(o->scheme, "-extension");
}

enum kl_origin_match kl_origins_find(const struct kl_origins *origins, const char *origin)
{
    struct origin o;
    if (!kl_origins_any(origins) || !split(origin, &o))
        return KL_ORIGIN_OTHER;
    char text[MAX_ORIGIN];
    write_normal(&o, text);
    for (size_t i = 0; i < origins->n; i++) {
        if (strcmp(text, origins->exact[i]) == 0)
            return KL_ORIGIN_EXACT;
    }
    return origins->apps && is_app(&o) ? KL_ORIGIN_OF_GROUP : KL_ORIGIN_OTHER;
}

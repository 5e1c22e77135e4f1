#include "client/curl_library.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>

#include "base/shared_library.h"

static struct {
    __typeof__(&curl_easy_init) easy_init;
    __typeof__(&curl_easy_setopt) easy_setopt;
    __typeof__(&curl_easy_perform) easy_perform;
    __typeof__(&curl_easy_getinfo) easy_getinfo;
    __typeof__(&curl_easy_cleanup) easy_cleanup;
    __typeof__(&curl_easy_strerror) easy_strerror;
    __typeof__(&curl_slist_append) slist_append;
    __typeof__(&curl_slist_free_all) slist_free_all;
} library;

static bool is_open;

static void open_library(void)
{
    /* the second is Debian's with GnuTLS, which git and others bring along */
    static const char *const files[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    static const struct kl_library_function functions[] = {
        {"curl_easy_init", &library.easy_init},
        {"curl_easy_setopt", &library.easy_setopt},
        {"curl_easy_perform", &library.easy_perform},
        {"curl_easy_getinfo", &library.easy_getinfo},
        {"curl_easy_cleanup", &library.easy_cleanup},
        {"curl_easy_strerror", &library.easy_strerror},
        {"curl_slist_append", &library.slist_append},
        {"curl_slist_free_all", &library.slist_free_all},
    };
    is_open = kl_library_open(files, sizeof files / sizeof files[0], functions,
                              sizeof functions / sizeof functions[0]) != NULL;
}

enum kl_status kl_curl_begin(CURL **curl, struct kl_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_library);
    if (!is_open)
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "this needs libcurl.so.4, which is not installed; the package is libcurl4 "
                       "(apt), libcurl (dnf, apk), libcurl4 (zypper) or curl (pacman)");
    *curl = library.easy_init();
    if (*curl == NULL)
        return kl_fail(err, KL_ERR_MEMORY, "libcurl cannot be started");
    return KL_OK;
}

/* ---- libcurl's functions, as its headers declare them; called after kl_curl_begin ---- */

/* The argument is a long, a curl_off_t or a pointer: libcurl numbers the options of a type
 * together. The macro of the same name checks the type of the argument where it is called. */
#undef curl_easy_setopt
CURLcode curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
    va_list list;
    CURLcode result;
    va_start(list, option);
    if ((int)option < CURLOPTTYPE_OBJECTPOINT)
        result = library.easy_setopt(curl, option, va_arg(list, long));
    else if ((int)option >= CURLOPTTYPE_OFF_T && (int)option < CURLOPTTYPE_BLOB)
        result = library.easy_setopt(curl, option, va_arg(list, curl_off_t));
    else /* of a function, too: both kinds of pointers are passed alike */
        result = library.easy_setopt(curl, option, va_arg(list, void *));
    va_end(list);
    return result;
}

#undef curl_easy_getinfo
CURLcode curl_easy_getinfo(CURL *curl, CURLINFO info, ...)
{
    va_list list;
    va_start(list, info);
    CURLcode result = library.easy_getinfo(curl, info, va_arg(list, void *));
    va_end(list);
    return result;
}

CURLcode curl_easy_perform(CURL *curl)
{
    return library.easy_perform(curl);
}

void curl_easy_cleanup(CURL *curl)
{
    library.easy_cleanup(curl);
}

const char *curl_easy_strerror(CURLcode result)
{
    return library.easy_strerror(result);
}

struct curl_slist *curl_slist_append(struct curl_slist *list, const char *text)
{
    return library.slist_append(list, text);
}

void curl_slist_free_all(struct curl_slist *list)
{
    library.slist_free_all(list);
}

/* Options that newer versions call deprecated are used where older versions know no other. */
#define CURL_DISABLE_DEPRECATION

#include "client/curl_setup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_SECONDS 5L

/* Values of the environment variables that name certificates; NULL: not set. */
struct trust {
    const char *file_variable, *file, *directory;
};

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static struct trust find_trust(void)
{
    struct trust trust = {.file_variable = "CURL_CA_BUNDLE", .file = variable("CURL_CA_BUNDLE")};
    if (trust.file == NULL) {
        trust.file_variable = "SSL_CERT_FILE";
        trust.file = variable("SSL_CERT_FILE");
        trust.directory = variable("SSL_CERT_DIR");
    }
    return trust;
}

void kl_curl_prepare(CURL *curl, char *message)
{
    const struct trust trust = find_trust();
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "kinglet/" KL_VERSION);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
    if (trust.file != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, trust.file);
        curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO, trust.file);
    }
    if (trust.directory != NULL) {
        curl_easy_setopt(curl, CURLOPT_CAPATH, trust.directory);
        curl_easy_setopt(curl, CURLOPT_PROXY_CAPATH, trust.directory);
    }
}

void kl_curl_follow_redirects(CURL *curl, long most, bool allow_http)
{
    long protocols = CURLPROTO_HTTPS | (allow_http ? CURLPROTO_HTTP : 0);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS, protocols);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, most);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void kl_curl_note_header(const char *line, size_t len, const char *name, char *value, size_t size)
{
    size_t begin = strlen(name);
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
        value[0] = '\0';
    if (len <= begin || line[begin] != ':' || strncasecmp(line, name, begin) != 0)
        return;
    for (begin++; begin < len && is_blank(line[begin]);)
        begin++;
    while (len > begin && is_blank(line[len - 1]))
        len--;
    size_t n = len - begin < size ? len - begin : size - 1;
    memcpy(value, line + begin, n);
    value[n] = '\0';
}

bool kl_curl_untrusted(CURLcode result)
{
    return result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE ||
           result == CURLE_SSL_ISSUER_ERROR;
}

enum kl_status kl_curl_fail(struct kl_error *err, enum kl_status status, const char *prefix,
                            CURLcode result, const char *message)
{
    const char *text = message[0] != '\0' ? message : curl_easy_strerror(result);
    const struct trust trust = find_trust();
    if (!kl_curl_untrusted(result))
        return kl_fail(err, status, "%s%s", prefix, text);
    if (trust.file == NULL && trust.directory == NULL)
        return kl_fail(
            err, status,
            "%sthe certificate is not trusted (%s); trusted are those of the system; if it is from "
            "the CA of a company, set SSL_CERT_FILE to the PEM file of that CA",
            prefix, text);
    return kl_fail(err, status,
                   "%sthe certificate is not trusted (%s); trusted are those of %s=%s; set it to "
                   "the PEM file of the CA that issued the server's certificate",
                   prefix, text, trust.file != NULL ? trust.file_variable : "SSL_CERT_DIR",
                   trust.file != NULL ? trust.file : trust.directory);
}

#include "format/not_gguf.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define MAX_SHOWN 60 /* bytes of a text */

/* Formats by the bytes with which their files begin. */
static const struct {
    const char *bytes;
    size_t len;
    const char *is;
} magics[] = {
    {"version https://git-lfs", 23,
     "a Git LFS pointer, which only names the file; get the file itself with 'git lfs pull'"},
    {"\x1F\x8B", 2, "compressed with gzip; unpack it with gunzip"},
    {"PK\x03\x04", 4,
     "a zip archive; unpack it, or, if it has PyTorch weights, get the model as GGUF"},
    {"\x28\xB5\x2F\xFD", 4, "compressed with zstd; unpack it with unzstd"},
    {"\xFD"
     "7zXZ",
     5, "compressed with xz; unpack it with unxz"},
    {"BZh", 3, "compressed with bzip2; unpack it with bunzip2"},
    {"7z\xBC\xAF\x27\x1C", 6, "a 7z archive; unpack it"},
    {"lmgg", 4, "in the format before GGUF (ggml); get the model as GGUF"},
    {"tjgg", 4, "in the format before GGUF (ggjt); get the model as GGUF"},
    {"fmgg", 4, "in the format before GGUF (ggmf); get the model as GGUF"},
};

/* A safetensors file begins with the length of a JSON header, in 8 bytes, and that header. */
static bool is_safetensors(const uint8_t *data, size_t size)
{
    uint64_t len = 0;
    for (size_t i = 0; i < 8 && size > 9; i++)
        len |= (uint64_t)data[i] << (8 * i);
    return len >= 2 && len <= (uint64_t)100 << 20 && data[8] == '{' &&
           (data[9] == '"' || data[9] == '}' || isspace(data[9]));
}

static bool is_zeros(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && i < 64; i++) {
        if (data[i] != 0)
            return false;
    }
    return true;
}

static bool begins(const char *text, size_t len, const char *word)
{
    return len >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

enum kl_status kl_fail_not_gguf(const uint8_t *data, size_t size, struct kl_error *err)
{
    static const char *const pages[] = {"<!doctype", "<html", "<head", "<?xml", "<!--"};
    if (size == 0)
        return kl_fail(err, KL_ERR_FORMAT, "not a GGUF file: it is empty; get it again");
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (size >= magics[i].len && memcmp(data, magics[i].bytes, magics[i].len) == 0)
            return kl_fail(err, KL_ERR_FORMAT, "not a GGUF file: it is %s", magics[i].is);
    }
    if (is_zeros(data, size))
        return kl_fail(
            err, KL_ERR_FORMAT,
            "not a GGUF file: it begins with zeros, so its download did not finish; get it "
            "again");
    if (is_safetensors(data, size))
        return kl_fail(err, KL_ERR_FORMAT,
                       "not a GGUF file: it is a safetensors file; get the model as GGUF, or "
                       "convert it with llama.cpp's convert_hf_to_gguf.py");
    size_t at = size >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (at < size && at < 4096 && isspace(data[at]))
        at++;
    const char *text = (const char *)data + at;
    size_t len = size - at;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (begins(text, len, pages[i]))
            return kl_fail(
                err, KL_ERR_FORMAT,
                "not a GGUF file: it is a web page; the address that it came from is that "
                "of a page and not of the file, or asks for a login");
    }
    if (len >= 2 && text[0] == '{' && (text[1] == '"' || isspace((unsigned char)text[1]))) {
        char shown[MAX_SHOWN + 1] = "";
        for (size_t i = 0; i < len && i < MAX_SHOWN; i++)
            shown[i] = text[i] >= ' ' && text[i] < 0x7F ? text[i] : '?';
        return kl_fail(err, KL_ERR_FORMAT,
                       "not a GGUF file: it is JSON, perhaps the answer of a server instead of the "
                       "file: %s",
                       shown);
    }
    return kl_fail(err, KL_ERR_FORMAT,
                   "not a GGUF file: expected \"GGUF\" (47 47 55 46) at its beginning, found %02x "
                   "%02x %02x %02x",
                   data[0], size > 1 ? data[1] : 0, size > 2 ? data[2] : 0, size > 3 ? data[3] : 0);
}

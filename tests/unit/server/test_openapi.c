/* web/openapi.json and the table of routes say the same: each row is described, with its methods,
 * and each path that is described has a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "http/exchange.h"
#include "server/routes.h"
#include "web/assets.h"

static const struct {
    const char *name;
    unsigned method;
} methods[] = {{"get", KL_GET}, {"post", KL_POST}, {"put", KL_PUT}, {"delete", KL_DELETE}};

enum { N_METHODS = sizeof methods / sizeof methods[0], MAX_ROWS = 100 };

static json_t *load(void)
{
    const struct kl_asset *asset = kl_asset_find("/openapi.json");
    json_error_t error;
    assert_non_null(asset);
    assert_string_equal(asset->content_type, "application/json");
    json_t *document =
        json_loadb((const char *)asset->data, asset->len, JSON_REJECT_DUPLICATES, &error);
    if (document == NULL)
        fail_msg("line %d: %s", error.line, error.text);
    return document;
}

static unsigned methods_of(const char *path, json_t *operations)
{
    unsigned found = 0;
    const char *name;
    json_t *operation;
    json_object_foreach(operations, name, operation)
    {
        unsigned method = 0;
        for (size_t i = 0; i < N_METHODS; i++)
            method |= strcmp(name, methods[i].name) == 0 ? methods[i].method : 0;
        if (method == 0)
            fail_msg("%s: \"%s\" is not a method that routes have", path, name);
        assert_true(json_is_string(json_object_get(operation, "summary")));
        found |= method;
    }
    return found;
}

/* Writes the path with a value in place of each {name}. */
static void fill_in(const char *path, char *out)
{
    for (; *path != '\0'; path++) {
        if (*path == '{') {
            path = strchr(path, '}');
            assert_non_null(path);
            *out++ = 'x';
        } else {
            *out++ = *path;
        }
    }
    *out = '\0';
}

/* Adds these methods to the rows that answer them: rows may share a path, or a part of it. Sets in
 * *left those that no row has. */
static void assign(const char *path, unsigned asked, unsigned *described, unsigned *left)
{
    char filled[200];
    assert_true(strlen(path) < sizeof filled);
    fill_in(path, filled);
    const struct kl_routes all = kl_server_routes;
    *left = asked;
    for (size_t i = 0; i < all.n; i++) {
        const struct kl_routes one = {&all.rows[i], 1};
        if (kl_route_find(&one, filled) == NULL)
            continue;
        described[i] |= asked & all.rows[i].methods;
        *left &= ~all.rows[i].methods;
    }
}

static void test_same(void **state)
{
    (void)state;
    json_t *document = load(), *paths = json_object_get(document, "paths"), *operations;
    unsigned described[MAX_ROWS] = {0};
    const char *path;
    assert_true(kl_server_routes.n <= MAX_ROWS);
    assert_true(json_object_size(paths) > 0);
    json_object_foreach(paths, path, operations)
    {
        unsigned left;
        assign(path, methods_of(path, operations), described, &left);
        if (left != 0)
            fail_msg("web/openapi.json describes %s, but no row of server/routes.c has it, or not "
                     "all of its methods",
                     path);
    }
    for (size_t i = 0; i < kl_server_routes.n; i++) {
        const struct kl_route *row = &kl_server_routes.rows[i];
        if (described[i] != row->methods)
            fail_msg("web/openapi.json does not describe %s of server/routes.c, or not all of its "
                     "methods",
                     row->path);
    }
    json_decref(document);
}

/* A key is needed where the document says so. */
static void test_keys(void **state)
{
    (void)state;
    json_t *document = load(), *paths = json_object_get(document, "paths"), *operations, *operation;
    const char *path, *name;
    json_object_foreach(paths, path, operations)
    {
        char filled[200];
        fill_in(path, filled);
        const struct kl_route *row = kl_route_find(&kl_server_routes, filled);
        json_object_foreach(operations, name, operation)
        {
            json_t *security = json_object_get(operation, "security");
            bool open = security != NULL && json_array_size(security) == 0;
            if (open != ((row->flags & KL_ROUTE_OPEN) != 0))
                fail_msg("web/openapi.json: %s %s is described as %s a key", name, path,
                         open ? "without" : "with");
        }
    }
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

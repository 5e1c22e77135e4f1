#include "base/shared_library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

static bool find_functions(void *handle, const struct kl_library_function *functions, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *address = dlsym(handle, functions[i].name);
        if (address == NULL)
            return false;
        /* POSIX has the same representation for both kinds of pointers, ISO C no conversion */
        memcpy(functions[i].pointer, &address, sizeof address);
    }
    return true;
}

void *kl_library_open(const char *const *files, size_t n_files,
                      const struct kl_library_function *functions, size_t n_functions)
{
    for (size_t i = 0; i < n_files; i++) {
        void *handle = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        if (handle != NULL && find_functions(handle, functions, n_functions))
            return handle;
        kl_library_close(handle);
    }
    return NULL;
}

void kl_library_close(void *handle)
{
    if (handle != NULL)
        dlclose(handle);
}

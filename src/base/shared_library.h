/*
 * A shared library that is opened when it is needed, so that the program also runs where it is
 * missing, and loads faster. Functions without state; any thread.
 */
#ifndef KL_BASE_SHARED_LIBRARY_H
#define KL_BASE_SHARED_LIBRARY_H

#include <stddef.h>

/* A function of the library, and the function pointer that receives its address. */
struct kl_library_function {
    const char *name;
    void *pointer; /* to a pointer to a function */
};

/* Opens the first of the libraries (n_files names like "libcurl.so.4") that is installed and has
 * all functions. Returns its handle for kl_library_close; NULL: there is none, and no pointer has
 * a meaning. */
void *kl_library_open(const char *const *files, size_t n_files,
                      const struct kl_library_function *functions, size_t n_functions);

/* The functions must not be called afterwards. handle: or NULL. */
void kl_library_close(void *handle);

#endif

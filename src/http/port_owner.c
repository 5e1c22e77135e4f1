#include "http/port_owner.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/foreign_text.h"
#include "base/system_files.h"

#define OUR_NAME "kinglet"
#define LISTENS  0x0A /* TCP_LISTEN in the column "st" */

/* A row of /proc/net/tcp or tcp6: the words of an address are printed in the byte order of this
 * computer. */
struct row {
    uint32_t words[4];
    size_t n_words; /* 1: IPv4 */
    unsigned port, state, uid;
    unsigned long inode;
};

static bool read_row(const char *line, struct row *row)
{
    char address[40];
    *row = (struct row){0};
    if (sscanf(line, " %*u: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %u %*s %lu", address,
               &row->port, &row->state, &row->uid, &row->inode) != 5)
        return false;
    row->n_words = strlen(address) / 8;
    for (size_t i = 0; i < row->n_words; i++) {
        char word[9] = {0};
        memcpy(word, address + 8 * i, 8);
        row->words[i] = (uint32_t)strtoul(word, NULL, 16);
    }
    return row->n_words == 1 || row->n_words == 4;
}

static struct row row_of(const struct sockaddr *address)
{
    struct row row = {.n_words = 1};
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        row.port = ntohs(in->sin_port);
        memcpy(row.words, &in->sin_addr, sizeof in->sin_addr);
    } else {
        const struct sockaddr_in6 *in = (const void *)address;
        row.n_words = 4;
        row.port = ntohs(in->sin6_port);
        memcpy(row.words, &in->sin6_addr, sizeof in->sin6_addr);
    }
    return row;
}

static bool is_any(const struct row *row)
{
    return (row->words[0] | row->words[1] | row->words[2] | row->words[3]) == 0;
}

static bool conflicts(const struct row *there, const struct row *wanted)
{
    if (there->state != LISTENS || there->port != wanted->port)
        return false;
    return is_any(there) || is_any(wanted) ||
           (there->n_words == wanted->n_words &&
            memcmp(there->words, wanted->words, sizeof there->words) == 0);
}

static bool find_row(const struct row *wanted, struct row *found)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    bool is_found = false;
    for (size_t i = 0; i < 2 && !is_found; i++) {
        FILE *table = fopen(tables[i], "re");
        char line[512];
        while (table != NULL && !is_found && fgets(line, sizeof line, table) != NULL)
            is_found = read_row(line, found) && conflicts(found, wanted);
        if (table != NULL)
            fclose(table);
    }
    return is_found;
}

enum finding { HAS_SOCKET, HAS_NOT, FORBIDDEN };

static enum finding find_socket(const char *pid, unsigned long inode)
{
    char path[300], wanted[40], link[40];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *descriptors = opendir(path);
    if (descriptors == NULL)
        return FORBIDDEN;
    const struct dirent *entry;
    enum finding found = HAS_NOT;
    while (found == HAS_NOT && (entry = readdir(descriptors)) != NULL) {
        ssize_t n = readlinkat(dirfd(descriptors), entry->d_name, link, sizeof link - 1);
        if (n > 0) {
            link[n] = '\0';
            found = strcmp(link, wanted) == 0 ? HAS_SOCKET : HAS_NOT;
        }
    }
    closedir(descriptors);
    return found;
}

static void read_name(const char *pid, char *out, size_t size)
{
    char path[300], name[64];
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    kl_system_text(path, name, sizeof name);
    kl_foreign_line(name, strcspn(name, "\n"), out, size);
}

static bool is_of(const char *pid, uid_t uid)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%s", pid);
    return stat(path, &st) == 0 && st.st_uid == uid;
}

/* A process that may not be examined counts if it is a kinglet of the right user. */
static void find_process(unsigned long inode, struct kl_port_owner *owner)
{
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    while (processes != NULL && !owner->is_certain && (entry = readdir(processes)) != NULL) {
        const char *pid = entry->d_name;
        if (!isdigit((unsigned char)pid[0]))
            continue;
        char name[sizeof owner->name];
        enum finding found = find_socket(pid, inode);
        if (found == HAS_NOT)
            continue;
        read_name(pid, name, sizeof name);
        bool is_kinglet = strcmp(name, OUR_NAME) == 0;
        if (found == FORBIDDEN && !(is_kinglet && is_of(pid, owner->uid)))
            continue;
        owner->is_certain = found == HAS_SOCKET;
        owner->is_kinglet = is_kinglet;
        owner->pid = (pid_t)strtol(pid, NULL, 10);
        memcpy(owner->name, name, sizeof name);
    }
    if (processes != NULL)
        closedir(processes);
}

bool kl_port_owner_find(const struct sockaddr *address, struct kl_port_owner *owner)
{
    struct row wanted = row_of(address), found;
    *owner = (struct kl_port_owner){0};
    if (!find_row(&wanted, &found))
        return false;
    owner->uid = found.uid;
    find_process(found.inode, owner);
    return true;
}

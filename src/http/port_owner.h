/*
 * Finds the process that listens on a port of this computer, from /proc.
 */
#ifndef KL_HTTP_PORT_OWNER_H
#define KL_HTTP_PORT_OWNER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

struct kl_port_owner {
    uid_t uid;
    pid_t pid;       /* 0: not known, since only root may examine the processes of others */
    char name[64];   /* of the program; empty without a process; one line of UTF-8 */
    bool is_kinglet; /* by its name */
    bool is_certain; /* the socket was seen in that process; else it is a kinglet of this user,
                        which may have it */
};

/* Finds the process whose socket prevents listening on this address and port. false: none found. */
bool kl_port_owner_find(const struct sockaddr *address, struct kl_port_owner *owner);

#endif

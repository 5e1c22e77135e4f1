/* Which process of this computer listens on a port, as /proc tells it. */
#ifndef KL_HTTP_PORT_OWNER_H
#define KL_HTTP_PORT_OWNER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

struct kl_port_owner {
    uid_t uid;
    pid_t pid;       /* 0: not known, since only root may look into the processes of others */
    char name[64];   /* of the program; empty without a process; one line of UTF-8 */
    bool is_kinglet; /* by its name */
    bool is_certain; /* the socket was seen in that process; else it is the one of this user that
                        could be meant */
};

/* The one that keeps others from listening on this address (with its port). false: none is found.
 */
bool kl_port_owner_find(const struct sockaddr *address, struct kl_port_owner *owner);

#endif

/* The routes of kept chats that the table of routes needs by name. Pure. */
#ifndef KL_API_CHATS_H
#define KL_API_CHATS_H

#include <stdbool.h>

/* Whether a path is that of the messages of a chat: /v1/chats/ID/messages, for any ID. */
bool kl_chats_has_messages(const char *path);

#endif

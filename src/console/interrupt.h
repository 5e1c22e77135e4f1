/*
 * Ctrl-C as an event: SIGINT is blocked, and delivered only while kl_interrupt_wait waits, so that
 * none is lost between the test of a flag and a sleep.
 */
#ifndef KL_CONSOLE_INTERRUPT_H
#define KL_CONSOLE_INTERRUPT_H

#include <stdbool.h>

/* Blocks SIGINT from now on in this thread, and in threads that it starts. */
void kl_interrupt_block(void);

/* Waits until fd is readable (returns true) or Ctrl-C was pressed (returns false). */
bool kl_interrupt_wait(int fd);

/* Whether Ctrl-C was pressed and no kl_interrupt_wait has returned it. Costs a system call. */
bool kl_interrupt_pending(void);

/* Ends the program as an unhandled Ctrl-C does. Call it after cleaning up. */
void kl_interrupt_die(void);

#endif

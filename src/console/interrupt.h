/*
 * Ctrl-C as an event: SIGINT is blocked, and comes through only while kl_interrupt_wait waits, so
 * that none is lost between a test of a flag and a sleep.
 */
#ifndef KL_CONSOLE_INTERRUPT_H
#define KL_CONSOLE_INTERRUPT_H

#include <stdbool.h>

/* From now on in this thread, and in those it starts. */
void kl_interrupt_block(void);

/* Waits until fd can be read (true) or Ctrl-C was pressed (false). */
bool kl_interrupt_wait(int fd);

/* Whether Ctrl-C was pressed and no kl_interrupt_wait has taken it. A system call. */
bool kl_interrupt_pending(void);

/* Ends the program as Ctrl-C does if nobody cares for it; for after the cleaning up. */
void kl_interrupt_die(void);

#endif

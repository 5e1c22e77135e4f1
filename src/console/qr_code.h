/*
 * QR codes on a terminal, by libqrencode, for an address that a phone reads from the screen.
 *
 * The library is opened when a code is printed, and may be missing: servers do without it, and a
 * release runs where it is not installed.
 *
 * A character shows two modules, one above the other (U+2580, U+2584, U+2588, blank). Light modules
 * are the drawn ones, so that a code without colours is right where text is light on dark, as on
 * most terminals; with colours it is white and black on every terminal. Around it are the four
 * light modules that readers need (ISO/IEC 18004, quiet zone).
 *
 * No state: any thread.
 */
#ifndef KL_CONSOLE_QR_CODE_H
#define KL_CONSOLE_QR_CODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/printer.h"

/* Prints a text (UTF-8, at most some hundred bytes) as a code. max_columns: of the terminal; 0:
 * any. colours: writes escape sequences for black and white. KL_ERR_NOT_FOUND: the library is not
 * installed; the text says how to install it. KL_ERR_LIMIT: the code is wider, or
 * the text longer than the largest code; the text of the error says how many columns it needs. */
enum kl_status kl_qr_code_print(struct kl_printer *out, const char *text, size_t max_columns,
                                bool colours, struct kl_error *err);

#endif

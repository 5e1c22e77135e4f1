/* The date as a person writes it, for models that are told it. Any thread. */
#ifndef KL_BASE_TODAY_H
#define KL_BASE_TODAY_H

#define KL_DATE_SIZE 24 /* with the NUL */

/* Writes the date here and now in the form of "28 Nov 2026", in any locale. */
void kl_today(char text[KL_DATE_SIZE]);

#endif

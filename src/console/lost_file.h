/*
 * Ends the program with a readable message when a mapped file is truncated, or its disk fails,
 * while the file is in use. The kernel reports that as SIGBUS and in no other way.
 */
#ifndef KL_CONSOLE_LOST_FILE_H
#define KL_CONSOLE_LOST_FILE_H

/* From now on a SIGBUS inside a file of base/mapped_file.h prints the name of the file on stderr
 * and exits with KL_EXIT_LOST_FILE. Any other SIGBUS is a bug and keeps its default action. Call it
 * once, before the first thread starts. */
void kl_lost_files_report(void);

#endif

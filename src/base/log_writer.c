#include "base/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h" /* kl_log_stop, kl_log_dropped */
#include "base/thread.h"

#define BUFFER_SIZE  ((size_t)256 * 1024)
#define STOP_SECONDS 1
#define WRITE_SIZE   ((size_t)16 * 1024) /* bytes per write: the buffer frees them at once */

/* Lines wait in `waiting`, a ring of bytes. The lock is never held during a write. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t more, idle;
    char waiting[BUFFER_SIZE];
    size_t head, len;  /* the first waiting byte, and their number */
    uint64_t dropped;  /* lines */
    uint64_t reported; /* the part of `dropped` that the log has reported */
    void (*report)(uint64_t dropped);
    enum { DIRECT, BY_THREAD, ENDING, GIVEN_UP } state;
    bool failed; /* the last write failed */
    bool over;   /* the thread has nothing more to do */
    pthread_t thread;
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER,
            .more = PTHREAD_COND_INITIALIZER,
            .idle = PTHREAD_COND_INITIALIZER};

/* Returns false when stderr takes no more bytes (closed, disk full): the rest is lost. */
static bool write_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) { /* another program made the shared terminal non-blocking */
            struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
            poll(&fd, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void append(const char *line, size_t len)
{
    size_t at = (writer.head + writer.len) % BUFFER_SIZE;
    size_t first = len < BUFFER_SIZE - at ? len : BUFFER_SIZE - at;
    memcpy(writer.waiting + at, line, first);
    memcpy(writer.waiting, line + first, len - first);
    writer.len += len;
}

void kl_log_write(const char *line, size_t len)
{
    pthread_mutex_lock(&writer.lock);
    bool direct = writer.state == DIRECT;
    if (writer.state == BY_THREAD && len <= BUFFER_SIZE - writer.len) {
        append(line, len);
        pthread_cond_signal(&writer.more);
    } else if (!direct) {
        writer.dropped++;
    }
    pthread_mutex_unlock(&writer.lock);
    if (direct)
        write_all(line, len);
}

uint64_t kl_log_dropped(void)
{
    pthread_mutex_lock(&writer.lock);
    uint64_t dropped = writer.dropped;
    pthread_mutex_unlock(&writer.lock);
    return dropped;
}

static size_t count_lines(const char *data, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += data[i] == '\n';
    return n;
}

/* Writes the oldest bytes. Called with the lock, which is released during the write. */
static void write_some(void)
{
    char data[WRITE_SIZE];
    size_t len = writer.len < WRITE_SIZE ? writer.len : WRITE_SIZE;
    size_t first = len < BUFFER_SIZE - writer.head ? len : BUFFER_SIZE - writer.head;
    memcpy(data, writer.waiting + writer.head, first);
    memcpy(data + first, writer.waiting, len - first);
    writer.head = (writer.head + len) % BUFFER_SIZE;
    writer.len -= len;
    pthread_mutex_unlock(&writer.lock);
    bool written = write_all(data, len);
    pthread_mutex_lock(&writer.lock);
    writer.failed = !written;
    if (!written)
        writer.dropped += count_lines(data, len);
}

/* Reports dropped lines as soon as stderr takes lines again. Called with the lock, which is
 * released while the report is logged. */
static void report_dropped(void)
{
    uint64_t n = writer.dropped - writer.reported;
    writer.reported = writer.dropped;
    pthread_mutex_unlock(&writer.lock);
    writer.report(n);
    pthread_mutex_lock(&writer.lock);
}

static void *writer_main(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&writer.lock);
    for (;;) {
        if (writer.len > 0)
            write_some();
        else if (writer.state != BY_THREAD)
            break;
        else if (writer.dropped > writer.reported && !writer.failed)
            report_dropped();
        else
            pthread_cond_wait(&writer.more, &writer.lock);
    }
    writer.over = true;
    pthread_cond_signal(&writer.idle);
    pthread_mutex_unlock(&writer.lock);
    return NULL;
}

enum kl_status kl_log_writer_start(void (*report)(uint64_t dropped), struct kl_error *err)
{
    pthread_mutex_lock(&writer.lock);
    writer.report = report;
    int problem = kl_thread_start(&writer.thread, writer_main, NULL);
    if (problem == 0) {
        writer.state = BY_THREAD;
        writer.over = writer.failed = false;
        writer.reported = writer.dropped;
    }
    pthread_mutex_unlock(&writer.lock);
    errno = problem;
    return problem == 0 ? KL_OK : kl_fail_errno(err, "the thread of the log cannot be started");
}

void kl_log_stop(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_SECONDS;
    pthread_mutex_lock(&writer.lock);
    if (writer.state == BY_THREAD) {
        writer.state = ENDING;
        pthread_cond_signal(&writer.more);
        while (!writer.over &&
               pthread_cond_clockwait(&writer.idle, &writer.lock, CLOCK_MONOTONIC, &until) == 0)
            ;
        writer.state = writer.over ? DIRECT : GIVEN_UP;
        if (writer.over)
            pthread_join(writer.thread, NULL); /* it only has to return */
        else
            pthread_detach(writer.thread);
    }
    pthread_mutex_unlock(&writer.lock);
}

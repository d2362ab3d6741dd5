// eventfd: counts, semaphores, a duplicate.
#include "object.h"
#include <sys/eventfd.h>

static int counter, semaphore, copy, empty, large;

static void set_up(void)
{
    counter = MUST(eventfd(7, EFD_NONBLOCK));
    semaphore = MUST(eventfd(2, EFD_SEMAPHORE | EFD_CLOEXEC));
    copy = MUST(dup(counter));
    empty = MUST(eventfd(0, EFD_NONBLOCK));
    large = MUST(eventfd(0, EFD_NONBLOCK));
    MUST(eventfd_write(large, 1ul << 63));
}

static void step(void)
{
    MUST(eventfd_write(counter, 10));
    MUST(eventfd_write(semaphore, 1));
}

static const char *check(void)
{
    uint64_t count = 0;
    SAME(eventfd_read(copy, &count), 0);
    SAME(count, 7 + 10 * steps);
    SAME(eventfd_read(counter, &count), -1);
    SAME(errno, EAGAIN);
    MUST(eventfd_write(counter, 7 + 10 * steps));
    for (int i = 0; i < 2 + steps; i++) SAME(eventfd_read(semaphore, &count) == 0 ? (long)count : -1, 1);
    MUST(fcntl(semaphore, F_SETFL, O_NONBLOCK));
    SAME(eventfd_read(semaphore, &count), -1);
    MUST(fcntl(semaphore, F_SETFL, 0));
    MUST(eventfd_write(semaphore, 2 + steps));
    SAME(fcntl(semaphore, F_GETFD), FD_CLOEXEC);
    SAME(eventfd_read(empty, &count), -1);
    SAME(eventfd_read(large, &count), 0);
    SAME(count, 1ul << 63);
    MUST(eventfd_write(large, count));
    return NULL;
}

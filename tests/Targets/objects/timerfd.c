// timerfd: clocks, intervals, what is left, expirations that were not read.
#include "object.h"
#include <poll.h>
#include <sys/timerfd.h>

static int far, often, expired, idle;

static void set_far(void)
{
    MUST(timerfd_settime(far, 0, &(struct itimerspec) { { 7 + steps, 5 }, { 1000 * (steps + 1), 0 } }, NULL));
}

static void set_up(void)
{
    far = MUST(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC));
    often = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    expired = MUST(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK));
    idle = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    set_far();
    MUST(timerfd_settime(often, 0, &(struct itimerspec) { { 0, 2000000 }, { 0, 2000000 } }, NULL));
    MUST(timerfd_settime(expired, 0, &(struct itimerspec) { { 0, 0 }, { 0, 1 } }, NULL));
    MUST(poll(&(struct pollfd) { .fd = expired, .events = POLLIN }, 1, -1));
}

static void step(void)
{
    set_far();
}

static const char *check(void)
{
    struct itimerspec now;
    uint64_t count = 0;
    SAME(timerfd_gettime(far, &now), 0);
    EXPECT(now.it_value.tv_sec <= 1000 * (steps + 1) && now.it_value.tv_sec > 1000 * (steps + 1) - 100);
    SAME(now.it_interval.tv_sec, 7 + steps);
    SAME(now.it_interval.tv_nsec, 5);
    SAME(fcntl(far, F_GETFD), FD_CLOEXEC);
    SAME(flags_of(expired) & O_NONBLOCK, O_NONBLOCK);
    SAME(read(often, &count, 8), 8);
    EXPECT(count >= 1);
    SAME(read(idle, &count, 8), -1);
    SAME(errno, EAGAIN);
    SAME(poll(&(struct pollfd) { .fd = expired, .events = POLLIN }, 1, 0), 1);
    return NULL;
}

// epoll: targets with events and data, a one-shot that has fired, an epoll within an epoll, a target whose number was closed.
#include "object.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int outer, inner, level, edge, once, hidden;

static void watch(int epoll, int how, int fd, uint32_t events, uint64_t data)
{
    MUST(epoll_ctl(epoll, how, fd, &(struct epoll_event) { events, { .u64 = data } }));
}

static void set_up(void)
{
    outer = MUST(epoll_create1(EPOLL_CLOEXEC));
    inner = MUST(epoll_create1(0));
    level = MUST(eventfd(0, EFD_NONBLOCK));
    edge = MUST(eventfd(0, EFD_NONBLOCK));
    once = MUST(eventfd(1, EFD_NONBLOCK));
    int closed = MUST(eventfd(0, EFD_NONBLOCK));
    watch(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 1);
    watch(inner, EPOLL_CTL_ADD, level, EPOLLIN, 0x123456789abcdef);
    watch(inner, EPOLL_CTL_ADD, edge, EPOLLIN | EPOLLET, 3);
    watch(inner, EPOLL_CTL_ADD, once, EPOLLIN | EPOLLONESHOT, 4);
    watch(inner, EPOLL_CTL_ADD, closed, EPOLLIN, 5);
    hidden = MUST(dup(closed));
    close(closed);
    struct epoll_event event;
    if (epoll_wait(inner, &event, 1, 0) != 1 || event.data.u64 != 4) DIE("the one-shot");
}

// Its data follow the steps.
static void step(void)
{
    watch(inner, EPOLL_CTL_MOD, level, EPOLLIN, 0x123456789abcdef + steps);
}

static const char *ready(int count, uint64_t wanted)
{
    struct epoll_event events[4];
    SAME(epoll_wait(outer, events, 4, 0), count);
    SAME(epoll_wait(inner, events, 4, 0), count);
    if (count) SAME(events[0].data.u64, wanted);
    if (count) SAME(events[0].events, EPOLLIN);
    return NULL;
}

static const char *raised(int fd, uint64_t data, int after)
{
    uint64_t count;
    MUST(eventfd_write(fd, 1));
    TRY(ready(1, data));
    TRY(ready(after, data));
    SAME(eventfd_read(fd, &count), 0);
    return NULL;
}

static const char *check(void)
{
    TRY(ready(0, 0));
    TRY(raised(level, 0x123456789abcdef + steps, 1));
    TRY(raised(edge, 3, 0));
    TRY(raised(hidden, 5, 1));
    TRY(ready(0, 0));
    watch(inner, EPOLL_CTL_MOD, once, EPOLLIN | EPOLLONESHOT, 4);
    TRY(ready(1, 4));
    TRY(ready(0, 0));
    SAME(fcntl(outer, F_GETFD), FD_CLOEXEC);
    return NULL;
}

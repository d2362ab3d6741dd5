// Threads that are blocked in system calls when they are captured: the calls go on, and end as they should.
#include "object.h"
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

enum { READ, POLL, POLL_TIMED, SELECT, EPOLL, FUTEX, FUTEX_TIMED, SIGNAL, SLEEP, SLEEP_UNTIL, SHORT_SLEEPS, CALLS };
static const long number[CALLS] = { SYS_read, SYS_poll, SYS_poll, SYS_pselect6, SYS_epoll_wait, SYS_futex, SYS_futex, SYS_rt_sigtimedwait, SYS_clock_nanosleep,
    SYS_clock_nanosleep, SYS_clock_nanosleep };
static const struct timespec long_time = { 1000, 0 };
static int pipes[CALLS][2], epoll, words[CALLS];
static pthread_t threads[CALLS];
static atomic_int tids[CALLS], ended[CALLS], failed;

static void on_signal(int number) { }

static int select_one(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, &(struct timeval) { 1000, 0 });
}

// Makes the call once; whether it ended as it should when it was woken.
static int call(int which)
{
    struct timespec left = { 0 }, date;
    struct epoll_event event;
    int in = pipes[which][0];
    sigset_t set;
    char byte;
    switch (which) {
    case READ: return read(in, &byte, 1) == 1;
    case POLL: return poll(&(struct pollfd) { .fd = in, .events = POLLIN }, 1, -1) == 1 && read(in, &byte, 1) == 1;
    case POLL_TIMED: return poll(&(struct pollfd) { .fd = in, .events = POLLIN }, 1, 1000000) == 1 && read(in, &byte, 1) == 1;
    case SELECT: return select_one(in) == 1 && read(in, &byte, 1) == 1;
    case EPOLL: return epoll_wait(epoll, &event, 1, -1) == 1 && read(in, &byte, 1) == 1;
    case FUTEX: return syscall(SYS_futex, &words[which], FUTEX_WAIT_PRIVATE, 0, NULL) == 0;
    case FUTEX_TIMED: return syscall(SYS_futex, &words[which], FUTEX_WAIT_PRIVATE, 0, &long_time) == 0;
    case SIGNAL:
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        return sigtimedwait(&set, NULL, &long_time) == SIGUSR1;
    case SLEEP: return clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, &left) == EINTR && left.tv_sec > 900 && left.tv_sec < 1000;
    case SLEEP_UNTIL:
        clock_gettime(CLOCK_MONOTONIC, &date);
        date.tv_sec += 1000000;
        return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &date, NULL) == EINTR;
    default: return clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec) { 0, 3000000 }, NULL) == 0;
    }
}

static void *work(void *which)
{
    int mine = (long)which;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (mine == SIGNAL) pthread_sigmask(SIG_BLOCK, &set, NULL);
    tids[mine] = gettid();
    for (;;) {
        if (!call(mine)) failed = 100 + mine;
        ended[mine]++;
    }
    return NULL;
}

// Until the thread has begun its call and sleeps in it. After a restart the call may be restart_syscall(2).
static void await_blocked(int which)
{
    char path[64];
    while (!tids[which]) sched_yield();
    for (;;) {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", tids[which]);
        int asleep = strrchr(text_of(path), ')')[2] == 'S';
        snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tids[which]);
        const char *now = text_of(path);
        if (asleep && strcmp(now, "running") && (atol(now) == number[which] || atol(now) == SYS_restart_syscall)) return;
        sched_yield();
    }
}

static void set_up(void)
{
    MUST(sigaction(SIGUSR1, &(struct sigaction) { .sa_handler = on_signal }, NULL));
    for (int i = 0; i < CALLS; i++) MUST(pipe(pipes[i]));
    epoll = MUST(epoll_create1(0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[EPOLL][0], &(struct epoll_event) { .events = EPOLLIN }));
    for (long i = 0; i < CALLS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < SHORT_SLEEPS; i++) await_blocked(i);
}

// Each call ends, and the next one begins.
static void step(void)
{
    for (int i = 0; i < SHORT_SLEEPS; i++) {
        await_blocked(i);
        if (i == FUTEX || i == FUTEX_TIMED) MUST(syscall(SYS_futex, &words[i], FUTEX_WAKE_PRIVATE, 1));
        else if (i >= SIGNAL) pthread_kill(threads[i], SIGUSR1);
        else MUST(write(pipes[i][1], "x", 1));
        while (ended[i] < steps) sched_yield();
    }
    for (int i = 0; i < SHORT_SLEEPS; i++) await_blocked(i);
}

static const char *check(void)
{
    for (int before = ended[SHORT_SLEEPS]; ended[SHORT_SLEEPS] < before + 2;) sched_yield();
    SAME(failed, 0);
    for (int i = 0; i < SHORT_SLEEPS; i++)
        if (ended[i] != steps) return wrong("call %d has ended %d times, not %d", i, ended[i], steps);
    for (int i = 0; i < SHORT_SLEEPS; i++) await_blocked(i);
    return NULL;
}

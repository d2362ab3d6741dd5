// signalfd: its signals, and what is pending for it.
#include "object.h"
#include <sys/signalfd.h>

static int fd;

// SIGUSR1 is in from the first step on.
static void set_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    if (steps) sigaddset(&set, SIGUSR1);
    fd = MUST(signalfd(steps ? fd : -1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

static void set_up(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    set_signals();
    kill(getpid(), SIGUSR1);
}

static void step(void)
{
    set_signals();
    MUST(sigqueue(getpid(), SIGRTMIN + 5, (union sigval) { .sival_int = steps }));
}

static const char *next(unsigned number, int value)
{
    struct signalfd_siginfo info;
    SAME(read(fd, &info, sizeof info), sizeof info);
    SAME(info.ssi_signo, number);
    SAME(info.ssi_int, value);
    SAME(info.ssi_pid, getpid());
    return NULL;
}

static const char *check(void)
{
    struct signalfd_siginfo info;
    if (steps) TRY(next(SIGUSR1, 0));
    for (int i = 1; i <= steps; i++) TRY(next(SIGRTMIN + 5, i));
    SAME(read(fd, &info, sizeof info), -1);
    SAME(errno, EAGAIN);
    for (int i = 1; i <= steps; i++) sigqueue(getpid(), SIGRTMIN + 5, (union sigval) { .sival_int = i });
    if (steps) kill(getpid(), SIGUSR1);
    SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
    return NULL;
}

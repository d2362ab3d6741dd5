// Signal handlers with their flags and masks, ignored signals, the process's mask, and pending signals with what they carry, of the process and of a thread.
#include "object.h"

static volatile sig_atomic_t handled, last_value;

static void plain(int number) { handled++; }

static void with_information(int number, siginfo_t *info, void *context)
{
    handled++;
    last_value = info->si_value.sival_int;
}

static void block(int how, int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    MUST(sigprocmask(how, &set, NULL));
}

// To the process by sigqueue(3), to this thread by pthread_sigqueue(3).
static void queue(int number, int value)
{
    if (number == SIGRTMIN + 2) MUST(sigqueue(getpid(), number, (union sigval) { .sival_int = value }));
    else errno = pthread_sigqueue(pthread_self(), number, (union sigval) { .sival_int = value });
}

static void set_up(void)
{
    struct sigaction action = { .sa_handler = plain, .sa_flags = SA_RESTART | SA_NODEFER };
    sigaddset(&action.sa_mask, SIGHUP);
    MUST(sigaction(SIGUSR1, &action, NULL));
    action = (struct sigaction) { .sa_sigaction = with_information, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    MUST(sigaction(SIGRTMIN + 1, &action, NULL));
    MUST(sigaction(SIGUSR2, &(struct sigaction) { .sa_handler = plain, .sa_flags = SA_RESETHAND }, NULL));
    MUST(sigaction(SIGCHLD, &(struct sigaction) { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT }, NULL));
    signal(SIGWINCH, SIG_IGN);
    block(SIG_BLOCK, SIGRTMIN + 2);
    block(SIG_BLOCK, SIGRTMIN + 3);
    block(SIG_BLOCK, SIGTERM);
    block(SIG_BLOCK, SIGCONT);
    MUST(kill(getpid(), SIGTERM));
    MUST(kill(getpid(), SIGCONT));
}

// Every step leaves one more in both queues.
static void step(void)
{
    queue(SIGRTMIN + 2, 100 + steps);
    queue(SIGRTMIN + 3, 200 + steps);
    signal(SIGHUP, steps % 2 ? SIG_IGN : SIG_DFL);
}

static const char *pending(int number, int first)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, number);
    for (int i = 1; i <= steps; i++) {
        SAME(sigtimedwait(&set, &info, &(struct timespec) { 0 }), number);
        SAME(info.si_code, SI_QUEUE);
        SAME(info.si_pid, getpid());
        SAME(info.si_uid, getuid());
        SAME(info.si_value.sival_int, first + i);
    }
    SAME(sigtimedwait(&set, &info, &(struct timespec) { 0 }), -1);
    for (int i = 1; i <= steps; i++) queue(number, first + i);
    return NULL;
}

static const char *action_is(int number, void *handler, int flags, int masked)
{
    struct sigaction action;
    sigaction(number, NULL, &action);
    EXPECT((void *)action.sa_handler == handler);
    SAME(action.sa_flags & ~0x04000000 /* SA_RESTORER */, flags);
    SAME(sigismember(&action.sa_mask, SIGHUP), masked);
    return NULL;
}

static const char *check(void)
{
    sigset_t set;
    TRY(action_is(SIGUSR1, plain, SA_RESTART | SA_NODEFER, 1));
    TRY(action_is(SIGRTMIN + 1, with_information, SA_SIGINFO | SA_ONSTACK, 0));
    TRY(action_is(SIGUSR2, plain, SA_RESETHAND, 0));
    TRY(action_is(SIGCHLD, SIG_DFL, SA_NOCLDWAIT, 0));
    struct sigaction hangup;
    sigaction(SIGHUP, NULL, &hangup);
    EXPECT(hangup.sa_handler == (steps % 2 ? SIG_IGN : SIG_DFL));
    sigaction(SIGWINCH, NULL, &hangup);
    EXPECT(hangup.sa_handler == SIG_IGN);
    sigprocmask(SIG_BLOCK, NULL, &set);
    for (int number = 1; number < 65; number++)
        if (number != 32 && number != 33) SAME(sigismember(&set, number), number == SIGRTMIN + 2 || number == SIGRTMIN + 3 || number == SIGTERM || number == SIGCONT);
    sigpending(&set);
    EXPECT(sigismember(&set, SIGTERM) && sigismember(&set, SIGCONT) && !sigismember(&set, SIGINT));
    TRY(pending(SIGRTMIN + 2, 100));
    TRY(pending(SIGRTMIN + 3, 200));
    handled = 0;
    raise(SIGUSR1);
    sigqueue(getpid(), SIGRTMIN + 1, (union sigval) { .sival_int = 300 + steps });
    SAME(handled, 2);
    SAME(last_value, 300 + steps);
    return NULL;
}

// signal_counter: counts the signals its handlers saw. "count" answers "usr1 N rt N out-of-order N"; SIGRTMIN must come with the values
// 1, 2, 3... in order (sigqueue). Its main thread waits in epoll_wait, and counts the times that returned EINTR without a signal.
#include "target.h"
#include <sys/epoll.h>

static volatile sig_atomic_t usr1, rt, disorder, handled;

static void on_usr1(int signal) { usr1++; handled++; }

static void on_rt(int signal, siginfo_t *info, void *context)
{
    rt++;
    handled++;
    if (info->si_value.sival_int && info->si_value.sival_int != rt)
        disorder++;
}

int main(void)
{
    char line[64];
    int spurious = 0;
    struct sigaction action = { .sa_sigaction = on_rt, .sa_flags = SA_SIGINFO };
    target_begin();
    sigaction(SIGRTMIN, &action, NULL);
    signal(SIGUSR1, on_usr1);
    int epoll = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN };
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event))
        DIE("epoll");
    printf("ready\n");
    for (;;) {
        int before = handled;
        if (epoll_wait(epoll, &event, 1, -1) < 0) {
            if (errno == EINTR && handled == before)
                spurious++;
            continue;
        }
        next_command(0, line, sizeof line);
        if (!strcmp(line, "count"))
            printf("usr1 %d rt %d out-of-order %d spurious %d\n", usr1, rt, disorder, spurious);
    }
}

// pidfd: of the process itself, and of a child.
#include "helper.h"
#include <poll.h>
#include <sys/pidfd.h>

static int itself, its, copy = -1;
static struct helper child;
static volatile sig_atomic_t received;

static void on_signal(int number) { received++; }

static char act(char letter)
{
    syscall(SYS_pidfd_send_signal, itself, SIGUSR1, NULL, 0);
    return letter;
}

static void set_up(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    MUST(sigaction(SIGUSR1, &action, NULL));
    itself = MUST(syscall(SYS_pidfd_open, getpid(), 0));
    child = start_helper(act);
    its = MUST(syscall(SYS_pidfd_open, child.pid, 0));
}

static void step(void)
{
    if (copy >= 0) close(copy);
    copy = MUST(fcntl(steps % 2 ? its : itself, F_DUPFD, 60 + steps));
}

static const char *check(void)
{
    received = 0;
    ask(child, 'x');
    SAME(received, 1);
    SAME(syscall(SYS_pidfd_send_signal, its, 0, NULL, 0), 0);
    SAME(poll(&(struct pollfd) { .fd = its, .events = POLLIN }, 1, 0), 0);
    if (steps) {
        char path[64], wanted[32];
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", copy);
        snprintf(wanted, sizeof wanted, "Pid:\t%d\n", steps % 2 ? child.pid : getpid());
        EXPECT(strstr(text_of(path), wanted));
    }
    return NULL;
}

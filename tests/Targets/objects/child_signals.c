// What a process is told of the end of a child, and a child of the end of its parent: exit signals other than SIGCHLD, and parent-death signals.
#include "helper.h"

static pid_t unusual;
static struct helper child;

static char act(char letter)
{
    int signal = 0;
    prctl(PR_GET_PDEATHSIG, &signal);
    return signal == SIGKILL ? 'y' : 'n';
}

static void set_up(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGURG);
    sigprocmask(SIG_BLOCK, &set, NULL);
    child = start_helper(act);
}

static int exit_signal(void) { return steps % 2 ? SIGUSR2 : SIGURG; }

static void step(void)
{
    if (unusual) {
        kill(unusual, SIGKILL);
        MUST(waitpid(unusual, NULL, __WALL));
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        sigaddset(&set, SIGURG);
        MUST(sigtimedwait(&set, NULL, &(struct timespec) { 0 }));
    }
    unusual = MUST(syscall(SYS_clone, exit_signal(), 0, 0, 0, 0));
    if (unusual == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
}

static const char *check(void)
{
    siginfo_t info;
    sigset_t set;
    EXPECT(ask(child, '?') == 'y');
    if (!unusual) return NULL;
    SAME(kill(unusual, SIGKILL), 0);
    SAME(waitpid(unusual, NULL, __WALL), unusual);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGURG);
    SAME(sigtimedwait(&set, &info, &(struct timespec) { 0 }), exit_signal());
    SAME(info.si_pid, unusual);
    unusual = 0;
    step();
    return NULL;
}

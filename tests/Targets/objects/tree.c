// A tree: children in groups and sessions of their own, one that is stopped, zombies that exited and that were killed.
#include "helper.h"

static struct helper grouped, joined, session;
static pid_t stopped, exited, killed;

static char act(char letter)
{
    static pid_t first;
    switch (letter) {
    case 'g': return setpgid(0, 0) == 0 ? 'y' : 'n';
    case 's': return setsid() > 0 ? 'y' : 'n';
    case 'f':                                           // a child of its own
        first = fork();
        if (first == 0) for (;;) pause();
        return first > 0 ? 'y' : 'n';
    default: return getpgid(first) == getpid() && getsid(first) == getpid() ? 'y' : 'n';
    }
}

// A child that is a zombie before this returns.
static pid_t zombie(int code, int signal)
{
    siginfo_t info;
    pid_t pid = MUST(fork());
    if (pid == 0) {
        if (signal) kill(getpid(), signal);
        _exit(code);
    }
    MUST(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
    return pid;
}

static void set_up(void)
{
    grouped = start_helper(act);
    joined = start_helper(act);
    session = start_helper(act);
    if (ask(grouped, 'g') != 'y' || ask(session, 's') != 'y' || ask(session, 'f') != 'y') DIE("the children");
    MUST(setpgid(joined.pid, grouped.pid));
    stopped = MUST(fork());
    if (stopped == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
    MUST(kill(stopped, SIGSTOP));
    siginfo_t info;
    MUST(waitid(P_PID, stopped, &info, WSTOPPED));
    exited = zombie(0, 0);
    killed = zombie(0, SIGTERM);
}

// The zombie that has exited is another one each time.
static void step(void)
{
    MUST(waitpid(exited, NULL, 0));
    exited = zombie(10 + steps, 0);
}

static char state_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    return strrchr(text_of(path), ')')[2];
}

static const char *check(void)
{
    siginfo_t info;
    SAME(getpgid(grouped.pid), grouped.pid);
    SAME(getpgid(joined.pid), grouped.pid);
    SAME(getsid(joined.pid), getsid(0));
    SAME(getsid(session.pid), session.pid);
    EXPECT(ask(session, '?') == 'y');
    EXPECT(state_of(stopped) == 'T');
    SAME(waitid(P_PID, exited, &info, WEXITED | WNOWAIT), 0);
    SAME(info.si_code, CLD_EXITED);
    SAME(info.si_status, steps ? 10 + steps : 0);
    SAME(waitid(P_PID, killed, &info, WEXITED | WNOWAIT), 0);
    SAME(info.si_code, CLD_KILLED);
    SAME(info.si_status, SIGTERM);
    MUST(kill(stopped, SIGCONT));
    SAME(waitid(P_PID, stopped, &info, WCONTINUED), 0);
    MUST(kill(stopped, SIGSTOP));
    SAME(waitid(P_PID, stopped, &info, WSTOPPED), 0);
    return NULL;
}

// Sessions and groups whose leader has exited, and processes that were adopted: a daemon that double-forked, one of two that are left in a group, and one born
// in a session that goes on further down. All are children of the nearest subreaper.
#include "helper.h"

static struct helper daemon_, grouped, adopted, further;
static pid_t group, leader, expected[3];

static char act(char letter)
{
    if (letter == 'r') {                                // what it is is what it shall be
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        expected[0] = getsid(0), expected[1] = getpgid(0), expected[2] = getppid();
        return 'y';
    }
    if (letter == 'g') return setpgid(0, 0) == 0 ? 'y' : 'n';
    // Nobody has the id of a leader that has exited.
    if (letter == 'l') return kill(getsid(0), 0) == 0 || errno != ESRCH ? 'y' : 'n';
    return getsid(0) == expected[0] && getpgid(0) == expected[1] && getppid() == expected[2] ? 'y' : 'n';
}

// A helper that is born to a child of a child, the former of which exits, and the latter too unless it stays.
static struct helper start_orphan(int new_session, pid_t *stays)
{
    int pids[2];
    MUST(pipe(pids));
    struct helper helper = { 0 };
    int requests[2], answers[2];
    MUST(pipe(requests));
    MUST(pipe(answers));
    pid_t first = MUST(fork());
    if (first == 0) {
        if (new_session) setsid();
        else setpgid(0, 0);
        pid_t second = MUST(fork());
        if (second == 0) {
            pid_t third = MUST(fork());
            if (third == 0) {
                close(requests[1]);
                close(answers[0]);
                for (char letter; read(requests[0], &letter, 1) == 1;) {
                    letter = act(letter);
                    MUST(write(answers[1], &letter, 1));
                }
                _exit(0);
            }
            MUST(write(pids[1], &third, sizeof third));
            _exit(0);
        }
        MUST(waitpid(second, NULL, 0));
        if (!stays) _exit(0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
    MUST(read(pids[0], &helper.pid, sizeof helper.pid));
    close(pids[0]);
    close(pids[1]);
    close(requests[0]);
    close(answers[1]);
    helper.in = requests[1];
    helper.out = answers[0];
    if (stays) *stays = first;
    else MUST(waitpid(first, NULL, 0));
    char path[64], line[64];
    snprintf(line, sizeof line, "PPid:\t%d\n", getpid());
    snprintf(path, sizeof path, "/proc/%d/status", helper.pid);
    while (!strstr(text_of(path), line)) usleep(1000);  // until it is ours
    return helper;
}

static void set_up(void)
{
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    daemon_ = start_orphan(1, NULL);
    grouped = start_orphan(0, NULL);
    group = getpgid(grouped.pid);
    adopted = start_orphan(1, &leader);
    further = start_orphan(1, &leader);
    if (ask(further, 'g') != 'y') DIE("setpgid");
    if (ask(daemon_, 'r') != 'y' || ask(grouped, 'r') != 'y' || ask(adopted, 'r') != 'y' || ask(further, 'r') != 'y') DIE("the children");
}

// Another process joins the group without a leader, and is the one that is left in it.
static void step(void)
{
    struct helper next = start_helper(act);
    MUST(setpgid(next.pid, group));
    if (ask(next, 'r') != 'y') DIE("the next one");
    MUST(kill(grouped.pid, SIGKILL));
    MUST(waitpid(grouped.pid, NULL, 0));
    close(grouped.in);
    close(grouped.out);
    grouped = next;
}

static const char *check(void)
{
    int status, subreaper;
    EXPECT(ask(daemon_, '?') == 'y');
    EXPECT(ask(daemon_, 'l') == 'n');
    EXPECT(getpgid(daemon_.pid) == getsid(daemon_.pid));
    EXPECT(getpgid(grouped.pid) == group);
    EXPECT(getsid(grouped.pid) == getsid(0));
    SAME(kill(group, 0), -1);
    EXPECT(ask(grouped, '?') == 'y');
    EXPECT(ask(adopted, '?') == 'y');
    EXPECT(ask(adopted, 'l') == 'y');
    SAME(getsid(further.pid), leader);
    SAME(getpgid(further.pid), further.pid);
    EXPECT(ask(further, '?') == 'y');
    MUST(prctl(PR_GET_CHILD_SUBREAPER, &subreaper));
    SAME(subreaper, 1);
    SAME(waitpid(-1, &status, WNOHANG), 0);             // nobody has exited, and nobody is left over
    return NULL;
}

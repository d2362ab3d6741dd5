// Limits, umask, directory, name, oom_score_adj, coredump_filter, personality, dumpable, subreaper, niceness of the whole.
#include "object.h"
#include <sys/personality.h>
#include <sys/resource.h>

static void write_to(const char *path, const char *text)
{
    int fd = MUST(open(path, O_WRONLY | O_CLOEXEC));
    MUST(write(fd, text, strlen(text)));
    close(fd);
}

static void set_up(void)
{
    MUST(setrlimit(RLIMIT_CORE, &(struct rlimit) { 1234, 5678 }));
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit) { 100, 200 }));
    MUST(setrlimit(RLIMIT_STACK, &(struct rlimit) { 4 << 20, RLIM_INFINITY }));
    MUST(mkdir(own_path("there"), 0755));
    MUST(chdir(own_path("there")));
    MUST(prctl(PR_SET_NAME, "an (object) \\"));
    write_to("/proc/self/oom_score_adj", "123");
    write_to("/proc/self/coredump_filter", "0x13");
    MUST(personality(ADDR_NO_RANDOMIZE));
    MUST(prctl(PR_SET_DUMPABLE, 0));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    umask(0100);
}

static void step(void)
{
    umask(0100 + steps);
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit) { 100 + steps, 200 }));
    char score[16];
    snprintf(score, sizeof score, "%d", 123 + steps);
    MUST(prctl(PR_SET_DUMPABLE, 1));    // for /proc/self to be one's own
    write_to("/proc/self/oom_score_adj", score);
    MUST(prctl(PR_SET_DUMPABLE, 0));
}

static const char *limit_is(int resource, rlim_t now, rlim_t most)
{
    struct rlimit limit;
    getrlimit(resource, &limit);
    SAME(limit.rlim_cur, now);
    SAME(limit.rlim_max, most);
    return NULL;
}

static const char *check(void)
{
    char directory_now[512], name[16];
    int subreaper = -1;
    TRY(limit_is(RLIMIT_CORE, 1234, 5678));
    TRY(limit_is(RLIMIT_NOFILE, 100 + steps, 200));
    TRY(limit_is(RLIMIT_STACK, 4 << 20, RLIM_INFINITY));
    mode_t mask = umask(0);
    umask(mask);
    SAME(mask, 0100 + steps);
    SAME_TEXT(getcwd(directory_now, sizeof directory_now) ? directory_now : "", own_path("there"));
    prctl(PR_GET_NAME, name);
    SAME_TEXT(name, "an (object) \\");
    SAME(atoi(text_of("/proc/self/oom_score_adj")), 123 + steps);
    SAME_TEXT(text_of("/proc/self/coredump_filter"), "00000013");
    SAME(personality(0xffffffff), ADDR_NO_RANDOMIZE);
    SAME(prctl(PR_GET_DUMPABLE), 0);
    SAME(prctl(PR_GET_CHILD_SUBREAPER, &subreaper), 0);
    SAME(subreaper, 1);
    return NULL;
}

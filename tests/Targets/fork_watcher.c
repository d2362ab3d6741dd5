// fork_watcher MIB: says what it sees of children that it never made. "ready FORKED-NOT WIPED PAGES": areas of PAGES pages, filled by pattern (seed 3, generation 1), the
// first left out of children (MADV_DONTFORK) and the second wiped in them (MADV_WIPEONFORK), beside MIB of plain memory. A thread waits for any child (waitpid, __WALL).
// "status": "children N sigchld N waited N". "advise AREA dofork|dontfork|wipe|keep", AREA 0 or 1. "limit N": RLIMIT_NPROC. "adopt": is a subreaper.
// "unshare pid|time": its children are born into a new namespace. "fork": "forked 0", or errno.
#include "target.h"
#include <sched.h>
#include <sys/resource.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define AREA_PAGES 64

static volatile sig_atomic_t sigchlds, waited;

static void on_child(int signal) { sigchlds++; }

static void *wait_for_any(void *none)
{
    for (;;) {
        int status;
        if (waitpid(-1, &status, __WALL) > 0)
            waited++;
        usleep(500);
    }
    return none;
}

static int children(void)
{
    char path[64], words[4096];
    int count = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%4095s", words) == 1)
        count++;
    if (f)
        fclose(f);
    return count;
}

static char *area(uint64_t pages)
{
    char *start = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        DIE("mmap");
    mprotect(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), PAGE, PROT_NONE);
    for (uint64_t p = 0; p < pages; p++)
        pattern_fill(start + p * PAGE, 3, 1, p);
    return start;
}

int main(int argc, char **argv)
{
    char line[256], word[32];
    char *areas[2];
    pthread_t waiter;
    unsigned long n;
    target_begin();
    struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_RESTART };
    sigaction(SIGCHLD, &action, NULL);
    area(argument(argc, argv, 1, 8) << 8);
    for (int i = 0; i < 2; i++)
        areas[i] = area(AREA_PAGES);
    madvise(areas[0], AREA_PAGES * PAGE, MADV_DONTFORK);
    madvise(areas[1], AREA_PAGES * PAGE, MADV_WIPEONFORK);
    if (pthread_create(&waiter, NULL, wait_for_any, NULL))
        DIE("pthread_create");
    printf("ready %lx %lx %d\n", (uintptr_t)areas[0], (uintptr_t)areas[1], AREA_PAGES);
    for (;;) {
        next_command(0, line, sizeof line);
        if (!strcmp(line, "status"))
            printf("children %d sigchld %d waited %d\n", children(), (int)sigchlds, (int)waited);
        else if (sscanf(line, "advise %lu %31s", &n, word) == 2) {
            int advice = !strcmp(word, "dofork") ? MADV_DOFORK : !strcmp(word, "dontfork") ? MADV_DONTFORK : !strcmp(word, "wipe") ? MADV_WIPEONFORK : MADV_KEEPONFORK;
            printf("advised %d\n", madvise(areas[n], AREA_PAGES * PAGE, advice));
        } else if (sscanf(line, "limit %lu", &n) == 1) {
            struct rlimit limit;
            getrlimit(RLIMIT_NPROC, &limit);
            limit.rlim_cur = n;
            printf("limited %d\n", setrlimit(RLIMIT_NPROC, &limit));
        } else if (!strcmp(line, "adopt"))
            printf("adopts %d\n", prctl(PR_SET_CHILD_SUBREAPER, 1));
        else if (sscanf(line, "unshare %31s", word) == 1)
            printf("unshared %d\n", unshare(!strcmp(word, "pid") ? CLONE_NEWPID : CLONE_NEWTIME));
        else if (!strcmp(line, "fork")) {
            pid_t child = fork();
            if (!child)
                _exit(0);
            printf("forked %d\n", child < 0 ? errno : 0);
        } else
            printf("what? %s\n", line);
    }
}

// forker MIB SEED [KIND]: a process tree that shares memory copy on write. Says "ready ADDRESS PAGES".
// "fork" makes a child of the process that hears it and says "child INDEX PID"; "tell INDEX COMMAND" hands a command on to a child
// (a child forks, writes and verifies its own copy: the commands of region.h); "end INDEX" ends a child: "ended INDEX".
#include "region.h"

#define MAX_CHILDREN 64
static struct region region;
static struct { pid_t pid; int to; } children[MAX_CHILDREN];
static int count, from;

static void fork_child(void)
{
    int ends[2];
    if (count == MAX_CHILDREN || pipe2(ends, O_CLOEXEC))
        DIE("pipe");
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        DIE("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
        close(ends[1]);
        for (int i = 0; i < count; i++)
            close(children[i].to);
        count = 0;
        from = ends[0];
        region.random ^= mix(getpid());
        return;
    }
    close(ends[0]);
    children[count].pid = pid;
    children[count].to = ends[1];
    printf("child %d %d\n", count++, pid);
}

int main(int argc, char **argv)
{
    char line[1024];
    target_begin();
    region_create(&region, argument(argc, argv, 1, 4) << 20, argument(argc, argv, 2, 1), argc > 3 ? argv[3] : "private");
    printf("ready %lx %lu\n", (uintptr_t)region.memory, region.pages);
    for (;;) {
        int child, skip = 0;
        next_command(from, line, sizeof line);
        if (!strcmp(line, "fork"))
            fork_child();
        else if (sscanf(line, "tell %d %n", &child, &skip) == 1 && skip && child < count)
            dprintf(children[child].to, "%s\n", line + skip);
        else if (sscanf(line, "end %d", &child) == 1 && child < count) {
            close(children[child].to);
            waitpid(children[child].pid, NULL, 0);
            printf("ended %d\n", child);
        } else if (!region_command(&region, line))
            printf("what? %s\n", line);
    }
}

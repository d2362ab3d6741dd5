// fork_storm DEPTH [zombie]: keeps forking children that live shortly, and one lasting child per level that does the same. With
// "zombie" it has one child that has exited and is never reaped. Says "ready"; "count" answers "forks N".
#include "target.h"

static volatile uint64_t forks;

static void storm(int depth)
{
    while (depth-- > 0 && fork() == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        pid_t child = fork();
        if (child < 0) {
            usleep(1000);
            continue;
        }
        if (child == 0) {
            usleep(500);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        forks++;
        usleep(2000);
    }
}

static void *run(void *depth) { storm((int)(intptr_t)depth); return NULL; }

int main(int argc, char **argv)
{
    char line[64];
    pthread_t thread;
    target_begin();
    pid_t zombie = argc > 2 ? fork() : -1;
    if (zombie == 0)
        _exit(7);
    siginfo_t info;
    if (zombie > 0 && waitid(P_PID, zombie, &info, WEXITED | WNOWAIT))
        DIE("waitid");
    if (pthread_create(&thread, NULL, run, (void *)(intptr_t)argument(argc, argv, 1, 1)))
        DIE("pthread_create");
    while (!forks)
        usleep(1000);
    printf("ready\n");
    for (;;)
        if (!strcmp(next_command(0, line, sizeof line), "count"))
            printf("forks %lu\n", forks);
}

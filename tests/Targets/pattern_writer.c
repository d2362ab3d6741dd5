// pattern_writer MIB SEED [KIND]: fills memory by formula and rewrites parts of it on command (region.h has kinds and commands).
// Says "ready ADDRESS PAGES". "arm" puts the region and the list of what is in it under a
// userfaultfd of its own (asynchronous write protection): "armed FD LIST-ADDRESS LIST-PAGES". "start" and "stop" run a thread that keeps writing random pages; verify only after "stop".
// "fork": "forked NS", how long fork(2) took.
#include "region.h"
#include "uffd.h"
#include <time.h>

static struct region region;
static volatile int running;
static pthread_t writer;

static void *keep_writing(void *none)
{
    uint64_t random = region.seed ^ 77;
    while (running) {
        if (next_random(&random) % 1024 == 0)
            region.generation++;
        region_write(&region, next_random(&random) % region.pages);
    }
    return none;
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ul + t.tv_nsec;
}

static uint64_t time_fork(void)
{
    uint64_t before = now();
    pid_t child = fork();
    uint64_t after = now();
    if (!child)
        _exit(0);
    waitpid(child, NULL, 0);
    return after - before;
}

int main(int argc, char **argv)
{
    char line[1024];
    target_begin();
    region_create(&region, argument(argc, argv, 1, 16) << 20, argument(argc, argv, 2, 1), argc > 3 ? argv[3] : "private");
    printf("ready %lx %lu\n", (uintptr_t)region.memory, region.pages);
    for (;;) {
        next_command(0, line, sizeof line);
        if (!strcmp(line, "start")) {
            running = 1;
            if (pthread_create(&writer, NULL, keep_writing, NULL))
                DIE("pthread_create");
            printf("started\n");
        } else if (!strcmp(line, "stop")) {
            running = 0;
            pthread_join(writer, NULL);
            printf("stopped\n");
        } else if (!strcmp(line, "fork")) {
            printf("forked %lu\n", time_fork());
        } else if (!strcmp(line, "arm")) {
            int fd = uffd_open();
            if (fd >= 0) {
                uffd_arm(fd, region.memory, region.pages * PAGE);
                uffd_arm(fd, region.written, region.written_bytes);
            }
            printf("armed %d %lx %lu\n", fd, (uintptr_t)region.written, region.written_bytes / PAGE);
        } else if (!region_command(&region, line))
            printf("what? %s\n", line);
    }
}

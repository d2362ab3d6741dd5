// steady_worker MIB PAGES MS: computes without a pause on MIB of memory, of which it writes PAGES pages, at random, in every MS milliseconds: what a
// busy program with a steady rate of change does. Says "ready". "work SECONDS" answers "units N SECONDS FAULTS": pieces of work done meanwhile (some
// microseconds each, all alike), the time it took, and page faults. What slows the process down makes fewer of them.
#include "target.h"
#include <sys/resource.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static long faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

int main(int argc, char **argv)
{
    char line[64];
    target_begin();
    uint64_t pages = (argument(argc, argv, 1, 256) << 20) / PAGE;
    double between = argument(argc, argv, 3, 100) * 1e-3 / argument(argc, argv, 2, 655);
    char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        DIE("mmap");
    for (uint64_t p = 0; p < pages; p++)
        pattern_fill(memory + p * PAGE, 1, 1, p);
    printf("ready\n");
    uint64_t random = 1, sum = 0, generation = 1;
    for (;;) {
        next_command(0, line, sizeof line);
        if (strncmp(line, "work ", 5)) {
            printf("what? %s\n", line);
            continue;
        }
        double begin = now(), end = begin + atof(line + 5), next = begin, at;
        long before = faults();
        uint64_t units = 0;
        while ((at = now()) < end) {
            sum = checksum(sum, memory + next_random(&random) % pages * PAGE, PAGE);
            units++;
            // What it could not write while it stood still it doesn't make up for.
            if (at < next)
                continue;
            next = next + between > at ? next + between : at + between;
            uint64_t *page = (uint64_t *)(memory + next_random(&random) % pages * PAGE);
            page[8 + next_random(&random) % 500] = ++generation;
        }
        printf("units %lu %.6f %ld\n", units, at - begin, faults() - before);
        if (sum == 1)
            printf("never\n");
    }
}

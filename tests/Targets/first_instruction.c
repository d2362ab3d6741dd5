// first_instruction MIB SEED FILE: fills memory, says "ready", and from then on looks at the clock without pause. Where it was stopped for longer than
// 50 ms, it appends to FILE when it went on: "NANOSECONDS since 1970". For bench/Scenarios/RestartTime.cs.
#include "region.h"
#include <time.h>

int main(int argc, char **argv)
{
    struct region region;
    struct timespec now, last;
    target_begin();
    prctl(PR_SET_PDEATHSIG, 0); // the bench ends it
    region_create(&region, argument(argc, argv, 1, 16) << 20, argument(argc, argv, 2, 1), "private");
    printf("ready\n");
    for (clock_gettime(CLOCK_REALTIME, &last);; last = now) {
        clock_gettime(CLOCK_REALTIME, &now);
        if ((now.tv_sec - last.tv_sec) * 1000000000l + now.tv_nsec - last.tv_nsec < 50000000l)
            continue;
        int fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
        dprintf(fd, "%ld%09ld\n", now.tv_sec, now.tv_nsec);
        close(fd);
        clock_gettime(CLOCK_REALTIME, &now);
    }
}

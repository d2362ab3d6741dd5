// /dev/null, zero, full, random and urandom.
#include "object.h"

static const char *const paths[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom" };
static int fds[5];

static void set_up(void)
{
    for (int i = 0; i < 5; i++) fds[i] = MUST(open(paths[i], O_RDWR | O_CLOEXEC));
}

static void step(void)
{
    MUST(fcntl(fds[0], F_SETFL, steps % 2 ? O_APPEND : 0));
}

static const char *check(void)
{
    char bytes[16];
    for (int i = 0; i < 5; i++) {
        struct stat status, wanted;
        fstat(fds[i], &status);
        stat(paths[i], &wanted);
        SAME(status.st_rdev, wanted.st_rdev);
        SAME(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        SAME(read(fds[i], bytes, 16), i == 0 ? 0 : 16);
    }
    SAME(write(fds[0], bytes, 16), 16);
    SAME(write(fds[2], bytes, 16), -1);
    SAME(errno, ENOSPC);
    SAME(flags_of(fds[0]) & O_APPEND, steps % 2 ? O_APPEND : 0);
    return NULL;
}

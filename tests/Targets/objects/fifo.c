// A FIFO with content: its two ends, and one that is both.
#include "object.h"

static int reader, writer, both;

static void set_up(void)
{
    MUST(mkfifo(own_path("fifo"), 0600));
    reader = MUST(open(own_path("fifo"), O_RDONLY | O_NONBLOCK));
    writer = MUST(open(own_path("fifo"), O_WRONLY | O_CLOEXEC));
    MUST(mkfifo(own_path("both"), 0600));
    both = MUST(open(own_path("both"), O_RDWR));
}

static void step(void)
{
    char byte = '0' + steps;
    MUST(write(writer, &byte, 1));
    MUST(write(both, "x", 1));
}

static const char *check(void)
{
    char text[16] = "";
    SAME(read(reader, text, 15), steps ? steps : -1);
    for (int i = 0; i < steps; i++) SAME(text[i], '1' + i);
    if (steps) MUST(write(writer, text, steps));
    int unread;
    SAME(syscall(SYS_ioctl, both, 0x541b /* FIONREAD */, &unread), 0);
    SAME(unread, steps);
    SAME(flags_of(reader), O_RDONLY | O_NONBLOCK);
    SAME(flags_of(writer), O_WRONLY);
    SAME(fcntl(writer, F_GETFD), FD_CLOEXEC);
    struct stat status, wanted;
    fstat(both, &status);
    stat(own_path("both"), &wanted);
    SAME(status.st_ino, wanted.st_ino);
    return NULL;
}

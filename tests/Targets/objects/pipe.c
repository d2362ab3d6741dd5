// Pipes: content, capacity, flags, packets, an end that was closed, one between two processes.
#include "helper.h"

static int full[2], only_rest, rest_is_read, broken, packets[2];
static struct helper child;

static char echo(char letter) { return letter + 1; }

static void set_up(void)
{
    int ends[2];
    MUST(pipe2(full, O_NONBLOCK | O_CLOEXEC));
    MUST(fcntl(full[1], F_SETPIPE_SZ, 1 << 17));
    MUST(pipe(ends));
    MUST(write(ends[1], "rest", 4));
    close(ends[1]);
    only_rest = ends[0];
    MUST(pipe(ends));
    close(ends[0]);
    broken = ends[1];
    MUST(pipe2(packets, O_DIRECT | O_NONBLOCK));
    child = start_helper(echo);
}

// A message of 10000 bytes more in the pipe.
static void put(int number)
{
    char message[10000];
    memset(message, 'a' + number, sizeof message);
    MUST(write(full[1], message, sizeof message));
}

static void step(void)
{
    put(steps);
    MUST(write(packets[1], "packet", steps));
}

static const char *check(void)
{
    char message[10000];
    for (int i = 1; i <= steps; i++) {
        SAME(read(full[0], message, sizeof message), sizeof message);
        for (size_t at = 0; at < sizeof message; at++) SAME(message[at], 'a' + i);
    }
    SAME(read(full[0], message, 1), -1);
    SAME(errno, EAGAIN);
    for (int i = 1; i <= steps; i++) put(i);
    SAME(fcntl(full[0], F_GETPIPE_SZ), 1 << 17);
    SAME(flags_of(full[0]), O_RDONLY | O_NONBLOCK);
    SAME(flags_of(full[1]), O_WRONLY | O_NONBLOCK);
    SAME(fcntl(full[1], F_GETFD), FD_CLOEXEC);
    if (!rest_is_read) SAME(read(only_rest, message, 8), 4);
    rest_is_read = 1;
    SAME(read(only_rest, message, 8), 0);
    SAME(write(broken, "x", 1), -1);
    SAME(errno, EPIPE);
    SAME(ask(child, 'a'), 'b');
    for (int i = 1; i <= steps; i++) SAME(read(packets[0], message, 100), i);
    SAME(read(packets[0], message, 100), -1);
    for (int i = 1; i <= steps; i++) SAME(write(packets[1], message, i), i);
    SAME(flags_of(packets[1]), O_WRONLY | O_NONBLOCK | O_DIRECT);
    return NULL;
}

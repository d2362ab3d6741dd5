// A pair of unix stream sockets: what is queued, options, a direction that was shut down, a peer that is gone.
#include "socket.h"

static int pair[2], shut[2], lonely, rest_is_read;

static void set_up(void)
{
    int gone[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, shut));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, gone));
    set_option(pair[0], SOL_SOCKET, SO_RCVBUF, 40000);
    MUST(shutdown(shut[0], SHUT_WR));
    MUST(send(gone[1], "rest", 4, 0));
    close(gone[1]);
    lonely = gone[0];
}

static void step(void)
{
    send_numbered(pair[1], steps);
    set_option(pair[1], SOL_SOCKET, SO_PRIORITY, steps);
}

static const char *check(void)
{
    char text[8];
    TRY(numbered_are_next(pair[0], pair[1], steps));
    TRY(talks(pair[0], pair[1]));
    SAME(option(pair[1], SOL_SOCKET, SO_PRIORITY), steps);
    SAME(option(pair[0], SOL_SOCKET, SO_RCVBUF), 80000);
    SAME(option(pair[0], SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    SAME(fcntl(pair[0], F_GETFD), FD_CLOEXEC);
    SAME(flags_of(shut[0]), O_RDWR | O_NONBLOCK);
    SAME(send(shut[0], "x", 1, 0), -1);
    SAME(errno, EPIPE);
    SAME(recv(shut[1], text, 1, 0), 0);
    TRY(talks(shut[1], shut[0]));
    if (!rest_is_read) SAME(recv(lonely, text, 8, 0), 4);
    rest_is_read = 1;
    SAME(recv(lonely, text, 8, 0), 0);
    SAME(send(lonely, "x", 1, 0), -1);
    SAME(errno, EPIPE);
    return NULL;
}

// A pair of unix seqpacket sockets: what is queued, message by message, both ways.
#include "socket.h"

static int pair[2];

static void set_up(void)
{
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
}

static void step(void)
{
    send_numbered(pair[1], steps);
    send_numbered(pair[0], steps);
}

static const char *check(void)
{
    TRY(numbered_are_next(pair[0], pair[1], steps));
    TRY(numbered_are_next(pair[1], pair[0], steps));
    SAME(option(pair[0], SOL_SOCKET, SO_TYPE), SOCK_SEQPACKET);
    SAME(flags_of(pair[0]), O_RDWR);
    return NULL;
}

// UDP sockets: bound, connected, with options.
#include "socket.h"
#include <poll.h>

static int bound, connected;
static struct sockaddr_in address = { .sin_family = AF_INET };

static void set_up(void)
{
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bound = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    set_option(bound, SOL_SOCKET, SO_REUSEPORT, 1);
    set_option(bound, SOL_SOCKET, SO_BROADCAST, 1);
    set_option(bound, IPPROTO_IP, IP_PKTINFO, 1);
    MUST(bind(bound, (void *)&address, sizeof address));
    MUST(getsockname(bound, (void *)&address, &length));
    connected = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    MUST(connect(connected, (void *)&address, sizeof address));
}

static void step(void)
{
    set_option(connected, IPPROTO_IP, IP_TTL, 40 + steps);
}

// On the loopback interface too a message is delivered a little later, where the kernel has much else to do.
static void await_message(int fd)
{
    MUST(poll(&(struct pollfd) { .fd = fd, .events = POLLIN }, 1, -1));
}

static const char *check(void)
{
    struct sockaddr_in now, from, mine;
    socklen_t length = sizeof now;
    char text[8];
    SAME(getsockname(bound, (void *)&now, &length), 0);
    EXPECT(!memcmp(&now, &address, sizeof now));
    SAME(getpeername(connected, (void *)&now, &length), 0);
    EXPECT(!memcmp(&now, &address, sizeof now));
    SAME(option(bound, SOL_SOCKET, SO_REUSEPORT), 1);
    SAME(option(bound, SOL_SOCKET, SO_BROADCAST), 1);
    SAME(option(bound, IPPROTO_IP, IP_PKTINFO), 1);
    if (steps) SAME(option(connected, IPPROTO_IP, IP_TTL), 40 + steps);
    SAME(flags_of(bound), O_RDWR | O_NONBLOCK);
    SAME(send(connected, "hello", 5, 0), 5);
    await_message(bound);
    SAME(recvfrom(bound, text, 8, 0, (void *)&from, &length), 5);
    SAME(getsockname(connected, (void *)&mine, &length), 0);
    SAME(from.sin_port, mine.sin_port);
    SAME(sendto(bound, "back", 4, 0, (void *)&from, sizeof from), 4);
    await_message(connected);
    SAME(recv(connected, text, 8, MSG_DONTWAIT), 4);
    return NULL;
}

// A TCP socket that listens, with its options, on IPv4 and IPv6.
#include "socket.h"

static int four, six;
static struct sockaddr_in at_four = { .sin_family = AF_INET };
static struct sockaddr_in6 at_six = { .sin6_family = AF_INET6 };

static void set_up(void)
{
    socklen_t length = sizeof at_four;
    at_four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    four = MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    set_option(four, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(four, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(four, SOL_SOCKET, SO_KEEPALIVE, 1);
    MUST(bind(four, (void *)&at_four, sizeof at_four));
    MUST(getsockname(four, (void *)&at_four, &length));
    MUST(listen(four, 7));
    at_six.sin6_addr = in6addr_loopback;
    six = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (six < 0 || bind(six, (void *)&at_six, sizeof at_six) < 0) {
        six = -1;                       // no IPv6 here
        return;
    }
    set_option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9);
    length = sizeof at_six;
    MUST(getsockname(six, (void *)&at_six, &length));
    MUST(listen(six, 1));
}

static void step(void)
{
    set_option(four, IPPROTO_TCP, TCP_KEEPIDLE, 100 + steps);
}

static const char *accepts(int family, int listener, const void *address, socklen_t size)
{
    int client = socket(family, SOCK_STREAM, 0);
    SAME(connect(client, address, size), 0);
    int accepted = accept(listener, NULL, NULL);
    EXPECT(accepted >= 0);
    SAME(send(client, "x", 1, 0), 1);
    char byte;
    SAME(recv(accepted, &byte, 1, 0), 1);
    MUST(setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger) { 1, 0 }, sizeof(struct linger)));
    close(client);
    close(accepted);
    return NULL;
}

static const char *check(void)
{
    struct sockaddr_in now;
    socklen_t length = sizeof now;
    SAME(getsockname(four, (void *)&now, &length), 0);
    EXPECT(!memcmp(&now, &at_four, sizeof now));
    SAME(option(four, SOL_SOCKET, SO_REUSEADDR), 1);
    SAME(option(four, SOL_SOCKET, SO_KEEPALIVE), 1);
    SAME(option(four, IPPROTO_TCP, TCP_NODELAY), 1);
    if (steps) SAME(option(four, IPPROTO_TCP, TCP_KEEPIDLE), 100 + steps);
    SAME(fcntl(four, F_GETFD), FD_CLOEXEC);
    struct tcp_info info;
    length = sizeof info;
    getsockopt(four, IPPROTO_TCP, TCP_INFO, &info, &length);
    SAME(info.tcpi_sacked, 7);          // of a listener: its backlog
    TRY(accepts(AF_INET, four, &at_four, sizeof at_four));
    if (six >= 0) {
        SAME(option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 9);
        TRY(accepts(AF_INET6, six, &at_six, sizeof at_six));
    }
    return NULL;
}

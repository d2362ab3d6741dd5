// A netlink socket of routes: its groups, and that it still asks.
#include "socket.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static int fd;

static void set_up(void)
{
    fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    MUST(bind(fd, (void *)&(struct sockaddr_nl) { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_NOTIFY }, sizeof(struct sockaddr_nl)));
}

static void step(void)
{
    set_option(fd, SOL_NETLINK, steps % 2 ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, RTNLGRP_NSID);
}

static const char *check(void)
{
    struct sockaddr_nl address;
    socklen_t length = sizeof address;
    SAME(getsockname(fd, (void *)&address, &length), 0);
    SAME(address.nl_groups, RTMGRP_NOTIFY | (steps % 2 ? 1 << (RTNLGRP_NSID - 1) : 0));
    struct { struct nlmsghdr header; struct ifinfomsg info; } request = {
        { .nlmsg_len = sizeof request, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = steps }, { .ifi_index = 1 } };
    char answer[8192];
    SAME(send(fd, &request, sizeof request, 0), sizeof request);
    EXPECT(recv(fd, answer, sizeof answer, 0) > 0);
    SAME(((struct nlmsghdr *)answer)->nlmsg_type, RTM_NEWLINK);
    SAME(((struct nlmsghdr *)answer)->nlmsg_seq, steps);
    SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
    return NULL;
}

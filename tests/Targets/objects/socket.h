// Sockets: messages that wait in a queue, and options.
#ifndef SOCKET_H
#define SOCKET_H
#include "object.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static inline void set_option(int fd, int level, int name, int value)
{
    MUST(setsockopt(fd, level, name, &value, sizeof value));
}

static inline int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) < 0 ? -1 : value;
}

// One message more, of a length that follows from its number; 5 fit into a small buffer.
static inline void send_numbered(int fd, int number)
{
    char message[3000];
    memset(message, 'a' + number, sizeof message);
    MUST(send(fd, message, 100 * number, 0));
}

// That numbered messages 1 to `count` are next, and then none; they are sent again by `sender`.
static inline const char *numbered_are_next(int receiver, int sender, int count)
{
    char message[3000];
    for (int i = 1; i <= count; i++) {
        SAME(recv(receiver, message, 100 * i, MSG_DONTWAIT), 100 * i);
        for (int at = 0; at < 100 * i; at++) SAME(message[at], 'a' + i);
    }
    SAME(recv(receiver, message, sizeof message, MSG_DONTWAIT), -1);
    for (int i = 1; i <= count; i++) send_numbered(sender, i);
    return NULL;
}

static inline const char *talks(int from, int to)
{
    char text[8] = "";
    SAME(send(from, "hello", 5, 0), 5);
    SAME(recv(to, text, 8, MSG_DONTWAIT), 5);
    SAME_TEXT(text, "hello");
    return NULL;
}
#endif

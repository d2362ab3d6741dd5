// Unix sockets that listen, under a path and under an abstract name, with a connection that was made through one.
#include "socket.h"

static struct sockaddr_un path = { .sun_family = AF_UNIX }, name = { .sun_family = AF_UNIX };
static socklen_t name_length;
static int at_path, at_name, client, server;

static void set_up(void)
{
    strncpy(path.sun_path, own_path("socket"), sizeof path.sun_path - 1);
    name_length = offsetof(struct sockaddr_un, sun_path) + 1 + snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "crstore-object-%d", getpid());
    at_path = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    MUST(bind(at_path, (void *)&path, sizeof path));
    MUST(chmod(path.sun_path, 0640));
    MUST(listen(at_path, 3));
    at_name = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    MUST(bind(at_name, (void *)&name, name_length));
    MUST(listen(at_name, 3));
    client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(client, (void *)&path, sizeof path));
    server = MUST(accept(at_path, NULL, NULL));
}

static void step(void)
{
    send_numbered(client, steps);
}

static const char *new_client(int listener, int type, const struct sockaddr_un *address, socklen_t length)
{
    int new = socket(AF_UNIX, type, 0);
    SAME(connect(new, (const void *)address, length), 0);
    int accepted = accept(listener, NULL, NULL);
    EXPECT(accepted >= 0);
    TRY(talks(new, accepted));
    close(new);
    close(accepted);
    return NULL;
}

static const char *check(void)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    struct stat status;
    TRY(numbered_are_next(server, client, steps));
    TRY(talks(server, client));
    SAME(getpeername(client, (void *)&address, &length), 0);
    SAME_TEXT(address.sun_path, path.sun_path);
    TRY(new_client(at_path, SOCK_STREAM, &path, sizeof path));
    TRY(new_client(at_name, SOCK_SEQPACKET, &name, name_length));
    SAME(stat(path.sun_path, &status), 0);
    SAME(status.st_mode, S_IFSOCK | 0640);
    SAME(option(at_path, SOL_SOCKET, SO_ACCEPTCONN), 1);
    return NULL;
}

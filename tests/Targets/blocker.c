// blocker CALL [TIMEOUT_MS]: blocks in one system call and says how it came back: "result R errno E ms T". Says "ready" just before.
// Without a timeout the line "wake" on stdin ends the wait the ordinary way (a byte, a connection, a signal, a semaphore...).
#include "target.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static int ends[2], pair[2], listener, epoll, semaphore, futex_word;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static pthread_t main_thread;
static const char *call;

static long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void wake(void)
{
    struct sembuf up = { 0, 1, 0 };
    if (!strcmp(call, "futex")) {
        __atomic_store_n(&futex_word, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    } else if (!strcmp(call, "accept")) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof(sa_family_t) + 20))
            DIE("connect");
    } else if (!strcmp(call, "sigtimedwait") || !strcmp(call, "sigsuspend"))
        pthread_kill(main_thread, SIGUSR1);
    else if (!strcmp(call, "semtimedop")) {
        if (semop(semaphore, &up, 1))
            DIE("semop");
    } else if (!strcmp(call, "recv")) {
        if (write(pair[1], "x", 1) != 1)
            DIE("write");
    } else if (write(ends[1], "x", 1) != 1)
        DIE("write");
}

static void *listen_to_stdin(void *unused)
{
    char line[64];
    for (;;)
        if (!strcmp(next_command(0, line, sizeof line), "wake"))
            wake();
    return NULL;
}

static void on_signal(int signal) { }

static long block(long ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 }, *timeout = ms < 0 ? NULL : &time;
    struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
    struct pollfd wait = { .fd = ends[0], .events = POLLIN };
    struct epoll_event event;
    struct sembuf down = { 0, -1, 0 };
    fd_set set;
    sigset_t usr1, none;
    char byte;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    if (!strcmp(call, "nanosleep"))
        return nanosleep(&time, NULL);
    if (!strcmp(call, "clock_nanosleep")) {
        errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
        return errno ? -1 : 0;
    }
    if (!strcmp(call, "futex"))
        return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, timeout, NULL, 0);
    if (!strcmp(call, "poll"))
        return poll(&wait, 1, ms);
    if (!strcmp(call, "ppoll"))
        return ppoll(&wait, 1, timeout, &usr1);
    if (!strcmp(call, "select"))
        return select(ends[0] + 1, &set, NULL, NULL, ms < 0 ? NULL : &tv);
    if (!strcmp(call, "epoll_wait"))
        return epoll_wait(epoll, &event, 1, ms);
    if (!strcmp(call, "read"))
        return read(ends[0], &byte, 1);
    if (!strcmp(call, "accept"))
        return accept(listener, NULL, NULL) < 0 ? -1 : 0;
    if (!strcmp(call, "recv"))
        return recv(pair[0], &byte, 1, 0);
    if (!strcmp(call, "sigtimedwait"))
        return sigtimedwait(&usr1, NULL, timeout);
    if (!strcmp(call, "sigsuspend"))
        return sigsuspend(&none);
    if (!strcmp(call, "semtimedop"))
        return semtimedop(semaphore, &down, 1, timeout);
    errno = ENOSYS;
    DIE("no call %s", call);
}

int main(int argc, char **argv)
{
    target_begin();
    call = argc > 1 ? argv[1] : "?";
    long ms = argc > 2 ? atol(argv[2]) : -1;
    struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
    struct epoll_event event = { .events = EPOLLIN };
    sigset_t usr1;
    pthread_t thread;
    main_thread = pthread_self();
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path + 1, 19, "blocker-%d.........", getpid()); // abstract: leaves no file behind
    if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || (epoll = epoll_create1(0)) < 0
        || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) || (semaphore = semget(IPC_PRIVATE, 1, 0600)) < 0
        || bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t) + 20) || listen(listener, 1))
        DIE("set up");
    if (ms >= 0 && (setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) || setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv)))
        DIE("SO_RCVTIMEO");
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    signal(SIGUSR1, on_signal);
    if (pthread_create(&thread, NULL, listen_to_stdin, NULL))
        DIE("pthread_create");
    printf("ready\n");
    long long start = now_ms();
    errno = 0;
    long result = block(ms);
    int error = result < 0 ? errno : 0;
    long long took = now_ms() - start;
    semctl(semaphore, 0, IPC_RMID);
    printf("result %ld errno %d ms %lld\n", result, error, took);
    return 0;
}

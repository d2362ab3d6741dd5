// spawner SOCKET UID PROGRAM ARGS...: starts a program on behalf of tests/Support/TargetProcess.cs, so that it is not a child of
// the .NET runtime (whose SIGCHLD thread would eat its ptrace stops). Stdin, stdout and stderr are handed on.
// Over the unix socket it says "pid N" and, when the program ends, "exit N" (128 + signal if it was killed); it takes
// "signal N". When the socket closes, the program and everything it left behind is killed.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int control;
static pid_t target;

static void fail(const char *what)
{
    fprintf(stderr, "spawner: %s: %s\n", what, strerror(errno));
    exit(125);
}

// Kills every child, those inherited as a subreaper too, until none is left.
static void end_all(void)
{
    for (;;) {
        char path[64], text[4096];
        snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        text[n > 0 ? n : 0] = 0;
        for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
            kill(atoi(p), SIGKILL);
        if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
            return;
    }
}

static void start(int uid, char **argv, const sigset_t *old_mask)
{
    int ready[2];
    char none;
    if (pipe2(ready, O_CLOEXEC) || (target = fork()) < 0)
        fail("fork");
    if (target > 0) {                   // end of file once it has become the program
        close(ready[1]);
        while (read(ready[0], &none, 1) < 0 && errno == EINTR) { }
        close(ready[0]);
        return;
    }
    if (uid > 0 && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
        fail("setresuid");
    prctl(PR_SET_PDEATHSIG, SIGKILL);   // after setresuid, which clears it
    sigprocmask(SIG_SETMASK, old_mask, NULL);
    execvp(argv[0], argv);
    fail(argv[0]);
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == target) {
            int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            target = 0;
            dprintf(control, "exit %d\n", code);
        }
}

static void command(void)
{
    char text[256];
    ssize_t n = read(control, text, sizeof text - 1);
    if (n <= 0) {
        end_all();
        exit(0);
    }
    text[n] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        int number;
        if (sscanf(line, "signal %d", &number) == 1 && target)
            kill(target, number);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return fprintf(stderr, "usage: spawner SOCKET UID PROGRAM ARGS...\n"), 2;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (control < 0 || connect(control, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGPIPE, SIG_IGN);
    sigset_t mask, old_mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, &old_mask);
    int children = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGPIPE, SIG_DFL);
    start(atoi(argv[2]), argv + 3, &old_mask);
    signal(SIGPIPE, SIG_IGN);
    for (int fd = 0; fd < 3; fd++)      // only the program holds them: its end is their end
        close(fd);
    dprintf(control, "pid %d\n", target);
    for (;;) {
        struct pollfd wait[] = { { .fd = control, .events = POLLIN }, { .fd = children, .events = POLLIN } };
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return 1;
        struct signalfd_siginfo info;
        while (read(children, &info, sizeof info) > 0)
            reap();
        if (wait[0].revents)
            command();
    }
}

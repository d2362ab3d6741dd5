// A regular file: offset, flags, appending, duplicates and descriptions of their own, close-on-exec, locks.
#include "object.h"
#include <sys/file.h>

static int file, copy, other, log_file;

static void set_up(void)
{
    file = MUST(open(own_path("file"), O_RDWR | O_CREAT | O_TRUNC, 0640));
    MUST(write(file, "0123456789", 10));
    copy = MUST(fcntl(file, F_DUPFD_CLOEXEC, 50));
    other = MUST(open(own_path("file"), O_RDONLY | O_NONBLOCK | O_NOATIME));
    log_file = MUST(open(own_path("log"), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600));
    MUST(fcntl(file, F_SETLK, &(struct flock) { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 4 }));
    MUST(flock(log_file, LOCK_EX));
}

static void step(void)
{
    MUST(pwrite(file, "abcdefghi", steps, 0));
    MUST(lseek(file, steps, SEEK_SET));
    MUST(lseek(other, 2 * steps, SEEK_SET));
    MUST(lseek(log_file, 0, SEEK_SET));
    MUST(write(log_file, "line\n", 5));
}

// Somebody else, who asks the kernel about the locks.
static int locked_for_others(void)
{
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 6, .l_len = 1 }, free = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 7, .l_len = 1 };
        fcntl(other, F_GETLK, &lock);
        fcntl(other, F_GETLK, &free);
        int again = open(own_path("none"), O_RDONLY);
        _exit(lock.l_type == F_WRLCK && lock.l_start == 3 && lock.l_len == 4 && lock.l_pid == getppid() && free.l_type == F_UNLCK && again < 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    int again = open(own_path("log"), O_RDONLY | O_CLOEXEC);
    int taken = flock(again, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(again);
    return status == 0 && taken;
}

static const char *check(void)
{
    char text[16] = "", wanted[16] = "0123456789";
    struct stat status;
    memcpy(wanted, "abcdefghi", steps);
    SAME(pread(other, text, 15, 0), 10);
    SAME_TEXT(text, wanted);
    SAME(lseek(file, 0, SEEK_CUR), steps ? steps : 10);
    SAME(lseek(copy, 1, SEEK_CUR), (steps ? steps : 10) + 1);
    SAME(lseek(file, -1, SEEK_CUR), steps ? steps : 10);
    SAME(lseek(other, 0, SEEK_CUR), 2 * steps);
    SAME(copy, 50);
    SAME(fcntl(file, F_GETFD), 0);
    SAME(fcntl(copy, F_GETFD), FD_CLOEXEC);
    SAME(flags_of(file), O_RDWR);
    SAME(flags_of(other), O_RDONLY | O_NONBLOCK | O_NOATIME);
    SAME(flags_of(log_file), O_WRONLY | O_APPEND);
    fstat(log_file, &status);
    SAME(status.st_size, 5 * steps);
    EXPECT(locked_for_others());
    return NULL;
}

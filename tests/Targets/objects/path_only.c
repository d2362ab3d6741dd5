// O_PATH: of a file, of a directory, of a symbolic link.
#include "object.h"

static int file, dir, link_itself;

static void set_up(void)
{
    close(MUST(open(own_path("file"), O_CREAT | O_WRONLY, 0600)));
    MUST(symlink("nowhere", own_path("link")));
    file = MUST(open(own_path("file"), O_PATH | O_CLOEXEC));
    dir = MUST(open(directory, O_PATH | O_DIRECTORY));
    link_itself = MUST(open(own_path("link"), O_PATH | O_NOFOLLOW));
}

static void step(void)
{
    MUST(dup2(steps % 2 ? dir : file, 60));
}

static const char *check(void)
{
    char target[32] = "", byte;
    struct stat status, wanted;
    SAME(readlinkat(link_itself, "", target, sizeof target - 1), 7);
    SAME_TEXT(target, "nowhere");
    SAME(read(file, &byte, 1), -1);
    SAME(errno, EBADF);
    SAME(fcntl(file, F_GETFD), FD_CLOEXEC);
    EXPECT(flags_of(file) & O_PATH);
    fstat(file, &status);
    stat(own_path("file"), &wanted);
    SAME(status.st_ino, wanted.st_ino);
    EXPECT(faccessat(dir, strrchr(own_path("file"), '/') + 1, F_OK, 0) == 0);
    SAME(fstat(60, &status), steps ? 0 : -1);
    if (steps) SAME(S_ISDIR(status.st_mode), steps % 2);
    return NULL;
}

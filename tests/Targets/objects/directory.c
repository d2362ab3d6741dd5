// A directory that is open, with the place where its reader is.
#include "object.h"
#include <dirent.h>

static int dir;
static DIR *listing;

static void set_up(void)
{
    MUST(mkdir(own_path("dir"), 0700));
    dir = MUST(open(own_path("dir"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (char name[2] = "a"; name[0] <= 'f'; name[0]++) close(MUST(openat(dir, name, O_CREAT | O_WRONLY, 0600)));
    listing = fdopendir(MUST(open(own_path("dir"), O_RDONLY | O_DIRECTORY)));
}

static void step(void)
{
    rewinddir(listing);
    for (int i = 0; i < steps; i++) readdir(listing);
}

static const char *check(void)
{
    struct stat status, now;
    EXPECT(fstatat(dir, "c", &status, 0) == 0 && S_ISREG(status.st_mode));
    SAME(fcntl(dir, F_GETFD), FD_CLOEXEC);
    EXPECT(flags_of(dir) & O_DIRECTORY);
    fstat(dirfd(listing), &now);
    stat(own_path("dir"), &status);
    SAME(now.st_ino, status.st_ino);
    long place = telldir(listing);
    int rest = 0;
    while (readdir(listing)) rest++;
    SAME(rest, 8 - steps);
    rewinddir(listing);
    rest = 0;
    while (readdir(listing)) rest++;
    SAME(rest, 8);
    seekdir(listing, place);
    return NULL;
}

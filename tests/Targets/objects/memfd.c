// A memfd: content, size with a hole, seals, offset, a shared mapping of a part of it, a second description.
#include "memory.h"

static int fd, again, sealed, closed;
static char *shared, *constant;

static void set_up(void)
{
    fd = MUST(memfd_create("object", MFD_ALLOW_SEALING));
    MUST(ftruncate(fd, 64 * PAGE + 5));
    shared = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    MUST(pwrite(fd, "tail", 4, 64 * PAGE + 1));
    MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    again = MUST(open(path, O_RDONLY));
    sealed = MUST(memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    MUST(write(sealed, "constant", 8));
    MUST(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK));
    closed = MUST(memfd_create("closed", 0));
    MUST(fchmod(closed, 0640));
    constant = map(1, PROT_READ, MAP_SHARED, sealed);
}

static void step(void)
{
    fill(shared, 2, steps);
    MUST(pwrite(fd, &steps, sizeof steps, 32 * PAGE));
    MUST(lseek(fd, steps * 10, SEEK_SET));
    MUST(lseek(again, steps * 20, SEEK_SET));
}

static const char *check(void)
{
    struct stat status;
    char tail[4], page[PAGE];
    int number = 0;
    fstat(fd, &status);
    SAME(status.st_size, 64 * PAGE + 5);
    EXPECT(status.st_blocks * 512ul <= 16 * PAGE);
    SAME(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
    SAME(fcntl(sealed, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK);
    SAME(fcntl(sealed, F_GETFD), FD_CLOEXEC);
    EXPECT(!memcmp(constant, "constant", 8));
    SAME(pwrite(sealed, "x", 1, 0), -1);
    SAME(errno, EPERM);
    SAME(pwrite(again, "x", 1, 0), -1);
    SAME(errno, EBADF);
    SAME(fcntl(closed, F_GET_SEALS), F_SEAL_SEAL);
    SAME_TEXT(mapping_at(shared), "rw-s /memfd:object (deleted)");
    char link[64], path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", closed);
    link[readlink(path, link, sizeof link - 1)] = 0;
    SAME_TEXT(link, "/memfd:closed (deleted)");
    fstat(closed, &status);
    SAME(status.st_mode, S_IFREG | 0640);
    SAME(lseek(fd, 0, SEEK_CUR), steps * 10);
    SAME(lseek(again, 0, SEEK_CUR), steps * 20);
    SAME(flags_of(again) & O_ACCMODE, O_RDONLY);
    SAME(pread(again, &number, sizeof number, 32 * PAGE), sizeof number);
    SAME(number, steps);
    SAME(pread(again, tail, 4, 64 * PAGE + 1), 4);
    EXPECT(!memcmp(tail, "tail", 4));
    EXPECT(filled(shared, 2, steps));
    SAME(pread(again, page, PAGE, PAGE), PAGE);
    EXPECT(!memcmp(page, shared + PAGE, PAGE));
    shared[3 * PAGE] ^= 1;                      // the mapping is of the file
    SAME(pread(again, page, 1, 3 * PAGE), 1);
    SAME(page[0], shared[3 * PAGE]);
    return NULL;
}

// Files without a name: deleted while open, and one that never had any.
#include "object.h"

static int file, reader, nameless;

static void set_up(void)
{
    file = MUST(open(own_path("deleted"), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));      // as tempfile of python opens them
    MUST(fchmod(file, 0641));
    reader = MUST(open(own_path("deleted"), O_RDONLY));
    MUST(unlink(own_path("deleted")));
    MUST(ftruncate(file, 1 << 20));
    nameless = MUST(open(directory, O_RDWR | O_TMPFILE, 0600));
}

static void step(void)
{
    MUST(pwrite(file, &steps, sizeof steps, 500000));
    MUST(lseek(reader, 500000 + steps, SEEK_SET));
    MUST(write(nameless, "more", 4));
}

static const char *check(void)
{
    struct stat status;
    int number = 0;
    char text[64];
    SAME(pread(reader, &number, sizeof number, 500000), sizeof number);
    SAME(number, steps);
    SAME(lseek(reader, 0, SEEK_CUR), steps ? 500000 + steps : 0);
    SAME(lseek(file, 0, SEEK_CUR), 0);
    fstat(file, &status);
    SAME(status.st_size, 1 << 20);
    SAME(status.st_nlink, 0);
    SAME(status.st_mode, S_IFREG | 0641);
    EXPECT(status.st_blocks * 512 < 1 << 19);
    SAME(lseek(nameless, 0, SEEK_CUR), 4 * steps);
    SAME(pread(nameless, text, sizeof text, 0), 4 * steps);
    for (int i = 0; i < steps; i++) EXPECT(!memcmp(text + 4 * i, "more", 4));
    EXPECT(access(own_path("deleted"), F_OK) < 0);
    return NULL;
}

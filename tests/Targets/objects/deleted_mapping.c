// Files that were deleted while they are mapped: shared and private, with and without an open fd.
#include "memory.h"

enum { PAGES = 8 };
static char *shared, *private, *open_shared;
static int fd;

static int new_file(const char *name)
{
    int file = MUST(open(own_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600));
    for (int i = 0; i < PAGES; i++) {
        char page[PAGE] __attribute__((aligned(8)));
        pattern_fill(page, getpid(), 1, i);
        MUST(write(file, page, PAGE));
    }
    return file;
}

static void set_up(void)
{
    int closed = new_file("closed"), copied = new_file("copied");
    fd = new_file("open");
    shared = map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, closed);
    private = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, copied);
    open_shared = map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    close(closed);
    close(copied);
    MUST(unlink(own_path("closed")));
    MUST(unlink(own_path("copied")));
    MUST(unlink(own_path("open")));
}

static void step(void)
{
    fill(shared, 3, 1 + steps);
    fill(private, 3, 1 + steps);
    fill(open_shared, 3, 1 + steps);
}

static int as_written(const char *area)
{
    for (int i = 0; i < PAGES; i++)
        if (!pattern_matches(area + i * PAGE, getpid(), i < 3 ? 1 + steps : 1, i)) return 0;
    return 1;
}

static const char *check(void)
{
    char page[PAGE] __attribute__((aligned(8)));
    EXPECT(as_written(shared));
    EXPECT(as_written(private));
    EXPECT(as_written(open_shared));
    SAME(pread(fd, page, PAGE, 2 * PAGE), PAGE);
    EXPECT(pattern_matches(page, getpid(), 1 + steps, 2));
    struct stat status;
    fstat(fd, &status);
    SAME(status.st_nlink, 0);
    SAME(status.st_size, PAGES * PAGE);
    EXPECT(access(own_path("closed"), F_OK) && access(own_path("copied"), F_OK) && access(own_path("open"), F_OK));
    return NULL;
}

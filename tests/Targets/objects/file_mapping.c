// Mappings of a file that stays as it is: shared, private with pages of one's own, and one for reading only.
#include "memory.h"

enum { PAGES = 8 };
static char *shared, *private, *read_only;

static void set_up(void)
{
    int fd = MUST(open(own_path("mapped"), O_RDWR | O_CREAT | O_TRUNC, 0600));
    MUST(ftruncate(fd, PAGES * PAGE));
    shared = map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    fill(shared, PAGES, 1);
    MUST(msync(shared, PAGES * PAGE, MS_SYNC));
    private = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
    read_only = map(PAGES, PROT_READ, MAP_PRIVATE, fd);
    close(fd);
}

static void step(void)
{
    fill(private, 2, 1 + steps);
}

static const char *check(void)
{
    EXPECT(filled(shared, PAGES, 1));
    EXPECT(filled(read_only, PAGES, 1));
    EXPECT(filled(private, 2, 1 + steps));
    for (int i = 2; i < PAGES; i++) EXPECT(pattern_matches(private + i * PAGE, getpid(), 1, i));
    EXPECT(!strncmp(mapping_at(shared), "rw-s", 4) && strstr(mapping_at(shared), own_path("mapped")));
    EXPECT(!strncmp(mapping_at(private), "rw-p", 4) && strstr(mapping_at(private), own_path("mapped")));
    EXPECT(!strncmp(mapping_at(read_only), "r--p", 4) && strstr(mapping_at(read_only), own_path("mapped")));
    return NULL;
}

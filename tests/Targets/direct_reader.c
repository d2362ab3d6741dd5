// direct_reader FILE: a thread reads the file into one and the same place with O_DIRECT, other content each time: the device writes to pages that
// the kernel looked up when the call began, past the page tables. Says "ready", or "failed WHY" where the file system has no O_DIRECT.
#include "target.h"

enum { PAGES = 1024, VARIANTS = 8 };

static char *area;
static int file;

static void *keep_reading(void *none)
{
    for (int i = 0;; i++) {
        if (pread(file, area, PAGES * PAGE, (off_t)(i % VARIANTS) * PAGES * PAGE) != PAGES * PAGE)
            DIE("pread");
        usleep(500);
    }
    return none;
}

int main(int argc, char **argv)
{
    char line[64];
    pthread_t reader;
    target_begin();
    file = argc > 1 ? open(argv[1], O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600) : -1;
    area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(area, PAGES * PAGE, MADV_NOHUGEPAGE);
    for (int i = 0; i < VARIANTS; i++) {
        for (uint64_t page = 0; page < PAGES; page++)
            pattern_fill(area + page * PAGE, 5, i + 1, page);
        if (file < 0 || pwrite(file, area, PAGES * PAGE, (off_t)i * PAGES * PAGE) != PAGES * PAGE) {
            printf("failed %s\n", strerror(errno));
            return 1;
        }
    }
    if (pthread_create(&reader, NULL, keep_reading, NULL))
        DIE("pthread_create");
    printf("ready\n");
    for (;;)
        next_command(0, line, sizeof line);
}

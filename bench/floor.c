// floor PID SEED ADDRESS PAGES [ADDRESS PAGES]: the floor of the frozen time of an increment, to compare crstore with: seize and stop every
// thread, a PAGEMAP_SCAN per region that gets and resets its written pages, a memcpy of as many pages as that found from random
// places of memory of the same size of our own into a buffer that is already faulted in. Prints nanoseconds:
// "seize N scan N memcpy N readv N pages N"; readv is process_vm_readv of the very pages, for comparison.
// The target must be armed (pattern_writer's "arm"). ptrace(2), pagemap_scan: Documentation/admin-guide/mm/pagemap.rst.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define DIE(what) (perror(what), exit(1))

struct page_region { uint64_t start, end, categories; };
struct pm_scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PM_SCAN_WP_MATCHING 1
#define PM_SCAN_CHECK_WPASYNC 2
#define PAGE_IS_WRITTEN 2

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ul + t.tv_nsec;
}

static int tids[65536], count;

// Seizes and interrupts until no thread is new, then waits for every stop.
static void stop_all(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    for (int found = 1; found;) {
        found = 0;
        DIR *d = opendir(path);
        if (!d)
            DIE(path);
        for (struct dirent *e; (e = readdir(d));) {
            int tid = atoi(e->d_name), known = tid == 0;
            for (int i = 0; i < count && !known; i++)
                known = tids[i] == tid;
            if (known || ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD))
                continue;
            ptrace(PTRACE_INTERRUPT, tid, 0, 0);
            tids[count++] = tid;
            found = 1;
        }
        closedir(d);
    }
    for (int i = 0; i < count; i++)
        if (waitpid(tids[i], NULL, __WALL) < 0)
            DIE("waitpid");
}

static void *populated(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED)
        DIE("mmap");
    return p;
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc % 2 == 0)
        return fprintf(stderr, "usage: floor PID SEED ADDRESS PAGES [ADDRESS PAGES]\n"), 2;
    int pid = atoi(argv[1]);
    srand48(strtoull(argv[2], NULL, 10));
    uint64_t pages = strtoull(argv[4], NULL, 10), most = 65536;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    if (pagemap < 0)
        DIE(path);
    struct page_region *found = populated(most * sizeof *found);
    char *source = populated(pages * PAGE), *buffer = populated(most * PAGE);
    uint64_t *order = populated(most * sizeof *order);
    for (uint64_t i = 0; i < most; i++)
        order[i] = lrand48() % pages;
    uint64_t t0 = now();
    stop_all(pid);
    uint64_t t1 = now();
    int regions = 0;
    for (int i = 3; i < argc; i += 2) {
        uint64_t start = strtoull(argv[i], NULL, 16);
        struct pm_scan_arg scan = { .size = sizeof scan, .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, .start = start,
            .end = start + strtoull(argv[i + 1], NULL, 10) * PAGE, .vec = (uintptr_t)(found + regions), .vec_len = most - regions,
            .category_mask = PAGE_IS_WRITTEN, .return_mask = PAGE_IS_WRITTEN };
        int n = ioctl(pagemap, PAGEMAP_SCAN, &scan);
        if (n < 0)
            DIE("PAGEMAP_SCAN");
        regions += n;
    }
    uint64_t t2 = now(), dirty = 0;
    for (int i = 0; i < regions; i++)
        for (uint64_t p = found[i].start; p < found[i].end && dirty < most; p += PAGE, dirty++)
            memcpy(buffer + dirty * PAGE, source + order[dirty] * PAGE, PAGE);
    uint64_t t3 = now(), read = 0;
    for (int first = 0; first < regions; first += 512) {
        struct iovec theirs[512];
        int n = regions - first < 512 ? regions - first : 512;
        uint64_t bytes = 0;
        for (int i = 0; i < n; i++) {
            theirs[i].iov_base = (void *)found[first + i].start;
            bytes += theirs[i].iov_len = found[first + i].end - found[first + i].start;
        }
        struct iovec ours = { buffer + read, bytes };
        if (process_vm_readv(pid, &ours, 1, theirs, n, 0) != (ssize_t)bytes)
            DIE("process_vm_readv");
        read += bytes;
    }
    uint64_t t4 = now();
    for (int i = 0; i < count; i++)
        ptrace(PTRACE_DETACH, tids[i], 0, 0);
    printf("seize %lu scan %lu memcpy %lu readv %lu pages %lu\n", t1 - t0, t2 - t1, t3 - t2, t4 - t3, dirty);
    return 0;
}

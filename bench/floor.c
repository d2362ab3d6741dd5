// floor SEED MOST PID ADDRESS PAGES [ADDRESS PAGES]... [/ PID ...]: the floor of the frozen time of an increment, to compare crstore with: seize and stop every
// thread of all processes, a PAGEMAP_SCAN per region that gets and resets its written pages, a memcpy of as many pages as that found (MOST at the most) from random
// places of memory of the size of the first region of our own into a buffer that is already faulted in. Prints nanoseconds:
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

struct region { int pid, pagemap; uint64_t start, pages; };
static struct region all[256];
static int regions;

// Seizes and interrupts until no thread is new.
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
}

static void wait_for_all(void)
{
    for (int i = 0; i < count; i++)
        if (waitpid(tids[i], NULL, __WALL) < 0)
            DIE("waitpid");
}

static int open_pagemap(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        DIE(path);
    return fd;
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
    if (argc < 6)
        return fprintf(stderr, "usage: floor SEED MOST PID ADDRESS PAGES [ADDRESS PAGES]... [/ PID ...]\n"), 2;
    srand48(strtoull(argv[1], NULL, 10));
    uint64_t most = strtoull(argv[2], NULL, 10);
    for (int i = 3; i < argc; i++) {
        int pid = atoi(argv[i]), pagemap = open_pagemap(pid);
        for (i++; i + 1 < argc && strcmp(argv[i], "/"); i += 2)
            all[regions++] = (struct region){ pid, pagemap, strtoull(argv[i], NULL, 16), strtoull(argv[i + 1], NULL, 10) };
    }
    uint64_t pages = all[0].pages;
    struct page_region *found = populated(most * sizeof *found);
    char *source = populated(pages * PAGE), *buffer = populated(most * PAGE);
    int *where = populated(most * sizeof *where);
    uint64_t *order = populated(most * sizeof *order);
    for (uint64_t i = 0; i < most; i++)
        order[i] = lrand48() % pages;
    uint64_t t0 = now();
    for (int i = 0; i < regions; i++)
        if (i == 0 || all[i].pid != all[i - 1].pid)
            stop_all(all[i].pid);
    wait_for_all();
    uint64_t t1 = now();
    uint64_t runs = 0;
    for (int i = 0; i < regions; i++) {
        struct pm_scan_arg scan = { .size = sizeof scan, .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, .start = all[i].start,
            .end = all[i].start + all[i].pages * PAGE, .vec = (uintptr_t)(found + runs), .vec_len = most - runs,
            .category_mask = PAGE_IS_WRITTEN, .return_mask = PAGE_IS_WRITTEN };
        int n = ioctl(all[i].pagemap, PAGEMAP_SCAN, &scan);
        if (n < 0)
            DIE("PAGEMAP_SCAN");
        for (int k = 0; k < n; k++)
            where[runs++] = all[i].pid;
    }
    uint64_t t2 = now(), dirty = 0;
    for (uint64_t i = 0; i < runs; i++)
        for (uint64_t p = found[i].start; p < found[i].end && dirty < most; p += PAGE, dirty++)
            memcpy(buffer + dirty * PAGE, source + order[dirty] * PAGE, PAGE);
    uint64_t t3 = now(), read = 0;
    for (uint64_t first = 0; first < runs;) {
        struct iovec theirs[512];
        int n = 0;
        uint64_t bytes = 0;
        for (; n < 512 && first + n < runs && where[first + n] == where[first] && read + bytes < most * PAGE; n++) {
            theirs[n].iov_base = (void *)found[first + n].start;
            uint64_t length = found[first + n].end - found[first + n].start, room = most * PAGE - read - bytes;
            bytes += theirs[n].iov_len = length < room ? length : room;
        }
        if (n == 0)
            break;
        struct iovec ours = { buffer + read, bytes };
        if (process_vm_readv(where[first], &ours, 1, theirs, n, 0) != (ssize_t)bytes)
            DIE("process_vm_readv");
        read += bytes;
        first += n;
    }
    uint64_t t4 = now();
    for (int i = 0; i < count; i++)
        ptrace(PTRACE_DETACH, tids[i], 0, 0);
    printf("seize %lu scan %lu memcpy %lu readv %lu pages %lu\n", t1 - t0, t2 - t1, t3 - t2, t4 - t3, dirty);
    return 0;
}

// memory_traps: does to its memory, on command, what confuses page trackers. Areas have names a-z; each command answers one line.
//   map X PAGES [prot|huge|noreserve|thp|shared|holes|memfd]  map, filled (noreserve, holes (shared): not)   -> "area START PAGES"
//   fill X FIRST N | zero X FIRST N | read X FIRST N | discard X FIRST N | unmap X
//   over X FIRST N        a new mapping with MAP_FIXED over part of the area, one page of it written
//   move X | grow X N     mremap: to another place; larger
//   swap X Y              mremap X over Y's place (MREMAP_FIXED): Y's content is gone, X's is there
//   part X FIRST | rejoin X    mremap: the pages from FIRST on to another place; back, where they merge with the rest
//   protect X FIRST N rw|r|none
//   guard X FIRST N       MADV_GUARD_INSTALL
//   advise X FIRST N free|pageout|collapse    madvise(2)
//   pwrite X FIRST N | child-write X FIRST N    through the memfd; by a forked child through shared memory
//   brk PAGES             grow or shrink (negative) the heap, filling what is new
//   stack N               touch N pages of stack, deeper each time
//   fork                  a child that lives on, with its own writes to private memory -> "child PID"
//   clone-vm              a process that shares this memory -> "child PID"
//   exec                  the program anew
//   uffd                  a userfaultfd of its own
//   kernel-read X FIRST   read(2) from a pipe into a page: the kernel writes it
//   file X PATH PAGES     private, writable mapping of a file
#include "target.h"
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static struct { char *start; uint64_t pages; int fd, shared; } areas[26];
static uint64_t counter;
static char **arguments;

static void fill(char *at, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        pattern_fill(at + i * PAGE, 7, ++counter, i);
}

static void map(int i, uint64_t pages, const char *kind)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1, filled = 1;
    if (!strcmp(kind, "huge"))
        flags |= MAP_HUGETLB;
    if (!strcmp(kind, "noreserve"))
        flags |= MAP_NORESERVE, filled = 0;
    if (!strcmp(kind, "shared") || !strcmp(kind, "holes"))
        flags = MAP_SHARED | MAP_ANONYMOUS, filled = kind[0] == 's';
    if (!strcmp(kind, "memfd")) {
        flags = MAP_SHARED;
        fd = memfd_create("traps", 0);
        if (ftruncate(fd, pages * PAGE))
            DIE("ftruncate");
    }
    // Anonymous areas are kept 4 MiB apart and aligned, so that none merges with another and page tables can be moved whole.
    char *hint = fd < 0 && !(flags & MAP_HUGETLB) ? (char *)0x500000000000 + (uint64_t)i * (256ul << 30) : NULL;
    char *start = mmap(hint, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (start == MAP_FAILED) {
        printf("failed %s\n", strerror(errno));
        return;
    }
    if (!strcmp(kind, "thp"))
        madvise(start, pages * PAGE, MADV_HUGEPAGE);
    if (filled)
        fill(start, pages);
    areas[i].start = start, areas[i].pages = pages, areas[i].fd = fd, areas[i].shared = flags & MAP_SHARED;
    printf("area %lx %lu\n", (uintptr_t)start, pages);
}

static void map_file(int i, const char *path, uint64_t pages)
{
    int fd = open(path, O_RDWR);
    areas[i].start = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    areas[i].pages = pages, areas[i].fd = fd, areas[i].shared = 0;
    printf(areas[i].start == MAP_FAILED ? "failed\n" : "area %lx %lu\n", (uintptr_t)areas[i].start, pages);
}

static void __attribute__((noinline)) deepen(uint64_t pages)
{
    volatile char room[PAGE];
    room[0] = pages;
    room[17] = ++counter;
    if (pages > 1)
        deepen(pages - 1);
    room[1]++;
}

static void grow_heap(int64_t pages)
{
    char *end = sbrk(pages * (int64_t)PAGE);
    if (end == (char *)-1)
        DIE("sbrk");
    if (pages > 0) {
        char *first = (char *)(((uintptr_t)end + PAGE - 1) & ~(PAGE - 1));
        fill(first, pages - 1);
    }
    printf("brk %lx\n", (uintptr_t)sbrk(0));
}

static void fork_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 26; i++)
            if (areas[i].start && areas[i].fd < 0 && !areas[i].shared) // it writes while its parent is captured
                pattern_fill(areas[i].start, 8, ++counter, i);
        for (;;)
            pause();
    }
    printf("child %d\n", child);
}

static int idle(void *unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
}

static void clone_vm(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    printf("child %d\n", clone(idle, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
}

static void child_write(char *at, uint64_t pages)
{
    pid_t child = fork();
    if (child == 0) {
        fill(at, pages);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    counter += pages;
}

static void own_uffd(void)
{
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
    struct uffdio_api api = { .api = UFFD_API };
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
        DIE("userfaultfd");
    printf("uffd %d\n", fd);
}

static void kernel_read(char *at)
{
    int pipes[2];
    char page[PAGE];
    if (pipe(pipes))
        DIE("pipe");
    pattern_fill(page, 9, ++counter, 1);
    if (write(pipes[1], page, PAGE) != PAGE || read(pipes[0], at, PAGE) != PAGE)
        DIE("pipe");
    close(pipes[0]), close(pipes[1]);
}

static void on_area(const char *verb, int i, uint64_t first, uint64_t n, const char *rest)
{
    char *at = areas[i].start + first * PAGE;
    volatile char sink = 0;
    if (!strcmp(verb, "fill"))
        fill(at, n);
    else if (!strcmp(verb, "zero"))
        memset(at, 0, n * PAGE);
    else if (!strcmp(verb, "read"))
        for (uint64_t p = 0; p < n; p++)
            sink += *(volatile char *)(at + p * PAGE);
    else if (!strcmp(verb, "discard")) {
        if (madvise(at, n * PAGE, MADV_DONTNEED))
            DIE("madvise");
    } else if (!strcmp(verb, "unmap")) {
        munmap(areas[i].start, areas[i].pages * PAGE);
        areas[i].start = NULL;
    } else if (!strcmp(verb, "over")) {
        if (mmap(at, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
            DIE("mmap");
        fill(at, 1);
    } else if (!strcmp(verb, "move")) {
        char *to = mremap(areas[i].start, areas[i].pages * PAGE, areas[i].pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
            areas[i].start + (64ul << 30));
        if (to == MAP_FAILED)
            DIE("mremap");
        areas[i].start = to;
    } else if (!strcmp(verb, "grow")) {
        char *to = mremap(areas[i].start, areas[i].pages * PAGE, (areas[i].pages + first) * PAGE, MREMAP_MAYMOVE);
        if (to == MAP_FAILED)
            DIE("mremap");
        areas[i].start = to;
        fill(to + areas[i].pages * PAGE, first);
        areas[i].pages += first;
    } else if (!strcmp(verb, "part") || !strcmp(verb, "rejoin")) {
        static uint64_t parted;
        int away = verb[0] == 'p';
        if (away)
            parted = first;
        char *here = areas[i].start + parted * PAGE, *there = here + (64ul << 30);
        if (mremap(away ? here : there, (areas[i].pages - parted) * PAGE, (areas[i].pages - parted) * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                away ? there : here) == MAP_FAILED)
            DIE("mremap");
    } else if (!strcmp(verb, "protect")) {
        int prot = !strcmp(rest, "rw") ? PROT_READ | PROT_WRITE : !strcmp(rest, "r") ? PROT_READ : PROT_NONE;
        if (mprotect(at, n * PAGE, prot))
            DIE("mprotect");
    } else if (!strcmp(verb, "guard")) {
        if (madvise(at, n * PAGE, MADV_GUARD_INSTALL)) {
            printf("failed %s\n", strerror(errno));
            return;
        }
    } else if (!strcmp(verb, "advise")) {
        int advice = !strcmp(rest, "free") ? MADV_FREE : !strcmp(rest, "pageout") ? MADV_PAGEOUT : MADV_COLLAPSE;
        if (madvise(at, n * PAGE, advice) && advice != MADV_COLLAPSE) // which gives up where it meets protected pages
            DIE("madvise");
    } else if (!strcmp(verb, "pwrite")) {
        char page[PAGE];
        for (uint64_t p = first; p < first + n; p++) {
            pattern_fill(page, 7, ++counter, p);
            if (pwrite(areas[i].fd, page, PAGE, p * PAGE) != PAGE)
                DIE("pwrite");
        }
    } else if (!strcmp(verb, "child-write"))
        child_write(at, n);
    else if (!strcmp(verb, "kernel-read"))
        kernel_read(at);
    else {
        printf("unknown\n");
        return;
    }
    printf("area %lx %lu\n", (uintptr_t)areas[i].start, areas[i].pages);
    (void)sink;
}

int main(int argc, char **argv)
{
    char line[600], name = 0, other = 0, word[512] = "", verb[64];
    long a = 0, b = 0;
    target_begin();
    arguments = argv;
    printf("ready\n");
    for (;;) {
        next_command(0, line, sizeof line);
        a = b = 0;
        word[0] = 0;
        if (sscanf(line, "map %c %ld %511s", &name, &a, word) >= 2)
            map(name - 'a', a, word);
        else if (sscanf(line, "file %c %511s %ld", &name, word, &a) == 3)
            map_file(name - 'a', word, a);
        else if (sscanf(line, "swap %c %c", &name, &other) == 2) {
            int x = name - 'a', y = other - 'a';
            if (mremap(areas[x].start, areas[x].pages * PAGE, areas[x].pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, areas[y].start)
                == MAP_FAILED)
                DIE("mremap");
            areas[y].pages = areas[x].pages;
            areas[x].start = NULL;
            printf("area %lx %lu\n", (uintptr_t)areas[y].start, areas[y].pages);
        } else if (sscanf(line, "brk %ld", &a) == 1)
            grow_heap(a);
        else if (sscanf(line, "stack %ld", &a) == 1) {
            deepen(a);
            printf("done\n");
        } else if (!strcmp(line, "fork"))
            fork_child();
        else if (!strcmp(line, "clone-vm"))
            clone_vm();
        else if (!strcmp(line, "exec")) {
            execv("/proc/self/exe", arguments);
            DIE("exec");
        } else if (!strcmp(line, "uffd"))
            own_uffd();
        else if (sscanf(line, "%63s %c %ld %ld %511s", verb, &name, &a, &b, word) >= 2)
            on_area(verb, name - 'a', a, b, word);
        else
            printf("unknown\n");
    }
}

// A region of pages with a model of what each must hold, and the commands on it.
#ifndef REGION_H
#define REGION_H
#include "target.h"

struct region {
    char *memory;
    uint64_t pages, seed, generation, random;
    uint64_t *written;      // generation of each page, 0: zero
    uint64_t written_bytes;
    int fd;                 // of a memfd or file, else -1
    int shared;
};

// kind: private, thp (2 MiB aligned, MADV_HUGEPAGE), shared, memfd, file:PATH (private map of a file), sparse (private, not filled).
static void region_create(struct region *r, uint64_t bytes, uint64_t seed, const char *kind)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    r->fd = -1;
    r->pages = bytes / PAGE;
    r->seed = seed;
    r->random = seed;
    r->written_bytes = (r->pages * sizeof *r->written + PAGE - 1) / PAGE * PAGE;
    r->written = mmap(NULL, r->written_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->written == MAP_FAILED)
        DIE("mmap");
    if (!strcmp(kind, "shared"))
        flags = MAP_SHARED | MAP_ANONYMOUS;
    else if (!strcmp(kind, "memfd")) {
        flags = MAP_SHARED;
        r->fd = memfd_create("region", MFD_CLOEXEC);
    } else if (!strncmp(kind, "file:", 5)) {
        flags = MAP_PRIVATE;
        r->fd = open(kind + 5, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    if (flags != (MAP_PRIVATE | MAP_ANONYMOUS) && !(flags & MAP_ANONYMOUS) && (r->fd < 0 || ftruncate(r->fd, bytes)))
        DIE("%s", kind);
    if (!strcmp(kind, "thp")) {
        char *all = mmap(NULL, bytes + (2 << 20), PROT_READ | PROT_WRITE, flags, -1, 0);
        if (all == MAP_FAILED)
            DIE("mmap");
        r->memory = (char *)(((uintptr_t)all + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
        madvise(r->memory, bytes, MADV_HUGEPAGE);
    } else
        r->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, r->fd, 0);
    if (r->memory == MAP_FAILED)
        DIE("mmap");
    r->shared = (flags & MAP_SHARED) != 0;
    r->generation = 1;
    if (strcmp(kind, "sparse"))
        for (uint64_t p = 0; p < r->pages; p++)
            pattern_fill(r->memory + p * PAGE, r->seed, r->written[p] = 1, p);
}

static void region_write(struct region *r, uint64_t page)
{
    pattern_fill(r->memory + page * PAGE, r->seed, r->written[page] = r->generation, page);
}

// The first page that is not what it must be, or -1.
static int64_t region_verify(struct region *r)
{
    for (uint64_t p = 0; p < r->pages; p++)
        if (!pattern_matches(r->memory + p * PAGE, r->seed, r->written[p], p))
            return p;
    return -1;
}

// Records of three u64: address, generation (0: zero), key.
static void region_expect(struct region *r, const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        DIE("%s", path);
    for (uint64_t p = 0; p < r->pages; p++) {
        uint64_t record[] = { (uintptr_t)(r->memory + p * PAGE), r->written[p], p };
        fwrite(record, sizeof record, 1, f);
    }
    fclose(f);
}

// Answers one command with one line; 0 if it knows it not.
static int region_command(struct region *r, const char *line)
{
    uint64_t a = 0, b = 0;
    char path[512];
    if (sscanf(line, "write-permille %lu", &a) == 1 || sscanf(line, "write %lu", &b) == 1) {
        // A share of the pages, or that many, at random (a page may be hit twice).
        uint64_t n = b ? b : r->pages * a / 1000;
        r->generation++;
        for (uint64_t i = 0; i < n; i++)
            region_write(r, next_random(&r->random) % r->pages);
        printf("wrote %lu generation %lu\n", n, r->generation);
    } else if (sscanf(line, "write-among %lu %lu", &a, &b) == 2) {
        // That many, at random among the first so many.
        r->generation++;
        for (uint64_t i = 0; i < b; i++)
            region_write(r, next_random(&r->random) % a);
        printf("wrote %lu generation %lu\n", b, r->generation);
    } else if (sscanf(line, "write-range %lu %lu", &a, &b) == 2) {
        r->generation++;
        for (uint64_t p = a; p < a + b && p < r->pages; p++)
            region_write(r, p);
        printf("wrote %lu generation %lu\n", b, r->generation);
    } else if (sscanf(line, "zero %lu %lu", &a, &b) == 2) {
        memset(r->memory + a * PAGE, 0, b * PAGE);
        memset(r->written + a, 0, b * sizeof *r->written);
        printf("zeroed %lu\n", b);
    } else if (sscanf(line, "discard %lu %lu", &a, &b) == 2) {
        // Private memory reads as zero afterwards (the file is a hole); shared memory still holds its content.
        if (madvise(r->memory + a * PAGE, b * PAGE, MADV_DONTNEED))
            DIE("madvise");
        if (!r->shared)
            memset(r->written + a, 0, b * sizeof *r->written);
        printf("discarded %lu\n", b);
    } else if (sscanf(line, "read %lu %lu", &a, &b) == 2) {
        uint64_t sum = 0;
        for (uint64_t p = a; p < a + b && p < r->pages; p++)
            sum += *(volatile uint64_t *)(r->memory + p * PAGE);
        printf("read %lx\n", sum);
    } else if (sscanf(line, "pwrite %lu %lu", &a, &b) == 2) {
        char page[PAGE];
        r->generation++;
        for (uint64_t p = a; p < a + b && p < r->pages; p++) {
            pattern_fill(page, r->seed, r->written[p] = r->generation, p);
            if (pwrite(r->fd, page, PAGE, p * PAGE) != PAGE)
                DIE("pwrite");
        }
        printf("wrote %lu generation %lu\n", b, r->generation);
    } else if (!strcmp(line, "checksum")) {
        printf("checksum %016lx\n", checksum(0, r->memory, r->pages * PAGE));
    } else if (!strcmp(line, "verify")) {
        int64_t bad = region_verify(r);
        bad < 0 ? printf("ok\n") : printf("bad page %ld\n", bad);
    } else if (sscanf(line, "expect %511s", path) == 1) {
        region_expect(r, path);
        printf("expected %lu\n", r->pages);
    } else
        return 0;
    fflush(stdout);
    return 1;
}
#endif

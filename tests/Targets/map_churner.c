// map_churner SEED [MAX_AREAS]: mmap, munmap, mremap, mprotect, madvise and writes at random, with a model of what every page holds.
// Says "ready". "churn N" does N operations: "churned N areas A pages P" after checking everything, or "bad ADDRESS".
// "start" and "stop" churn in a thread; "expect FILE" writes records of three u64: address, generation (0: zero), key.
#include "target.h"

#define MAX_PAGES 64
struct area {
    char *start;
    uint64_t pages;
    int writable;
    uint64_t generation[MAX_PAGES], key[MAX_PAGES];
};

static struct area areas[512];
static unsigned count, limit;
static uint64_t seed, random_state, generation, operations;
static volatile int running;

static uint64_t below(uint64_t n) { return next_random(&random_state) % n; }

static void add_area(void)
{
    struct area *a = &areas[count++];
    memset(a, 0, sizeof *a);
    a->pages = 1 + below(MAX_PAGES);
    a->writable = 1;
    a->start = mmap(NULL, a->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->start == MAP_FAILED)
        DIE("mmap");
}

static void remove_area(unsigned i)
{
    if (munmap(areas[i].start, areas[i].pages * PAGE))
        DIE("munmap");
    areas[i] = areas[--count];
}

static void write_pages(struct area *a)
{
    if (!a->writable)
        return;
    uint64_t n = 1 + below(8);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t p = below(a->pages);
        a->key[p] = operations * MAX_PAGES + p;
        pattern_fill(a->start + p * PAGE, seed, a->generation[p] = ++generation, a->key[p]);
    }
}

static void resize(struct area *a)
{
    uint64_t pages = 1 + below(MAX_PAGES);
    char *start = mremap(a->start, a->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
    if (start == MAP_FAILED)
        DIE("mremap");
    for (uint64_t p = pages; p < MAX_PAGES; p++)
        a->generation[p] = 0;
    a->start = start;
    a->pages = pages;
}

// Moves onto fresh addresses, so that a page table moves without its VMA's length changing.
static void move(struct area *a)
{
    char *hole = mmap(NULL, a->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (hole == MAP_FAILED || mremap(a->start, a->pages * PAGE, a->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, hole) != hole)
        DIE("mremap");
    a->start = hole;
}

static void replace(struct area *a)
{
    if (mmap(a->start, a->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != a->start)
        DIE("mmap");
    memset(a->generation, 0, sizeof a->generation);
    a->writable = 1;
}

static void discard(struct area *a)
{
    uint64_t first = below(a->pages), n = 1 + below(a->pages - first);
    if (madvise(a->start + first * PAGE, n * PAGE, MADV_DONTNEED))
        DIE("madvise");
    memset(a->generation + first, 0, n * sizeof *a->generation);
}

static void protect(struct area *a)
{
    a->writable = !a->writable;
    if (mprotect(a->start, a->pages * PAGE, a->writable ? PROT_READ | PROT_WRITE : below(4) ? PROT_READ : PROT_NONE))
        DIE("mprotect");
}

static void step(void)
{
    operations++;
    if (count < 4 || (count < limit && below(8) == 0)) {
        add_area();
        return;
    }
    unsigned i = below(count);
    switch (below(12)) {
    case 0: remove_area(i); break;
    case 1: resize(&areas[i]); break;
    case 2: move(&areas[i]); break;
    case 3: replace(&areas[i]); break;
    case 4: discard(&areas[i]); break;
    case 5: protect(&areas[i]); break;
    default: write_pages(&areas[i]); break;
    }
}

// The address of a page that is not as the model says, or null. What can't be read is made readable for the look.
static char *check(uint64_t *pages)
{
    for (unsigned i = 0; i < count; i++) {
        struct area *a = &areas[i];
        if (!a->writable)
            mprotect(a->start, a->pages * PAGE, PROT_READ);
        for (uint64_t p = 0; p < a->pages; p++, ++*pages)
            if (!pattern_matches(a->start + p * PAGE, seed, a->generation[p], a->key[p]))
                return a->start + p * PAGE;
    }
    return NULL;
}

static void *keep_churning(void *none)
{
    while (running)
        step();
    return none;
}

static void write_expectation(const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        DIE("%s", path);
    for (unsigned i = 0; i < count; i++)
        for (uint64_t p = 0; p < areas[i].pages; p++) {
            uint64_t record[] = { (uintptr_t)areas[i].start + p * PAGE, areas[i].generation[p], areas[i].key[p] };
            fwrite(record, sizeof record, 1, f);
        }
    fclose(f);
}

static void report(void)
{
    uint64_t pages = 0;
    char *bad = check(&pages);
    bad ? printf("bad %lx\n", (uintptr_t)bad) : printf("churned %lu areas %u pages %lu\n", operations, count, pages);
}

int main(int argc, char **argv)
{
    char line[1024], path[512];
    uint64_t n;
    pthread_t thread;
    target_begin();
    seed = random_state = argument(argc, argv, 1, 1);
    limit = argument(argc, argv, 2, 100);
    if (limit > 500)
        limit = 500;
    printf("ready\n");
    for (;;) {
        next_command(0, line, sizeof line);
        if (sscanf(line, "churn %lu", &n) == 1) {
            while (n--)
                step();
            report();
        } else if (!strcmp(line, "start")) {
            running = 1;
            if (pthread_create(&thread, NULL, keep_churning, NULL))
                DIE("pthread_create");
            printf("started\n");
        } else if (!strcmp(line, "stop")) {
            running = 0;
            pthread_join(thread, NULL);
            report();
        } else if (sscanf(line, "expect %511s", path) == 1) {
            write_expectation(path);
            printf("expected %u\n", count);
        } else
            printf("what? %s\n", line);
    }
}

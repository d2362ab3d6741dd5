// filler MIB KIND SEED: fills MIB mebibytes with pages of one kind, says "ready" and waits for the end of its standard input.
// KIND: zero (written zeros); same (one page over and over); words (text made of a few thousand words); heap (half pointers and small
// numbers, half words); random (as keys, compressed or encrypted data are).
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t state;

static uint64_t next(void)
{
    return state ^= state << 13, state ^= state >> 7, state ^= state << 17;
}

static void words(char *to, size_t size)
{
    static char list[4096][12];
    if (!list[0][0])
        for (int i = 0; i < 4096; i++)
            for (int n = 2 + next() % 9, j = 0; j < n; j++)
                list[i][j] = "aeioulnrstdkmpgbhv"[next() % 18];
    for (size_t at = 0; at < size;) {
        const char *word = list[next() % 4096];
        for (; *word && at < size; at++)
            to[at] = *word++;
        if (at < size)
            to[at++] = ' ';
    }
}

static void page(char *to, const char *kind, const char *first)
{
    uint64_t *numbers = (uint64_t *)to;
    if (!strcmp(kind, "zero"))
        memset(to, 0, 4096);
    else if (!strcmp(kind, "same") && first != to)
        memcpy(to, first, 4096);
    else if (!strcmp(kind, "random"))
        for (int i = 0; i < 512; i++)
            numbers[i] = next();
    else if (!strcmp(kind, "heap")) {
        for (int i = 0; i < 256; i++)
            numbers[i] = i & 1 ? next() % 1000 : 0x7f0000000000 + (next() % (1 << 24)) * 16;
        words(to + 2048, 2048);
    } else
        words(to, 4096);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: filler MIB KIND SEED\n"), 2;
    size_t size = strtoull(argv[1], NULL, 10) << 20;
    state = strtoull(argv[3], NULL, 10) + 88172645463325252u;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return perror("filler"), 1;
    for (size_t at = 0; at < size; at += 4096)
        page(memory + at, argv[2], memory);
    puts("ready");
    fflush(stdout);
    getchar();
    return 0;
}

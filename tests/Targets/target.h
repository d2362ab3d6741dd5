// What all targets share: a line-based conversation over stdin and stdout, dying with the test, randomness by seed, and pages
// whose content follows from (seed, generation, key), so that anyone can check them later (tests/Support/Pattern.cs has the same formula).
#ifndef TARGET_H
#define TARGET_H
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define WORDS (PAGE / 8)
#define PATTERN_MAGIC 0x43525354504147ul   // "CRSTPAG"

#define DIE(...) (fprintf(stderr, __VA_ARGS__), fprintf(stderr, ": %s\n", strerror(errno)), exit(99))

static inline uint64_t mix(uint64_t x)      // splitmix64
{
    x += 0x9e3779b97f4a7c15ul;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ul;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebul;
    return x ^ (x >> 31);
}

static inline uint64_t next_random(uint64_t *state) { return *state = mix(*state); }

// Word i of a page: four words of header, then alternately 64 and 16 random bits, so that it compresses somewhat.
static inline uint64_t pattern_word(uint64_t seed, uint64_t generation, uint64_t key, unsigned i)
{
    switch (i) {
    case 0: return PATTERN_MAGIC;
    case 1: return seed;
    case 2: return generation;
    case 3: return key;
    }
    uint64_t word = mix((mix(seed) ^ mix(generation + 0x1000000) ^ mix(key + 0x2000000000)) ^ i);
    return i & 1 ? word : word & 0xffff;
}

static inline void pattern_fill(void *page, uint64_t seed, uint64_t generation, uint64_t key)
{
    volatile uint64_t *words = page;
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = pattern_word(seed, generation, key, i);
}

// Generation 0 stands for a page that was never written: all zero.
static inline int pattern_matches(const void *page, uint64_t seed, uint64_t generation, uint64_t key)
{
    const volatile uint64_t *words = page;
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != (generation ? pattern_word(seed, generation, key, i) : 0))
            return 0;
    return 1;
}

static inline uint64_t checksum(uint64_t sum, const void *memory, size_t bytes)
{
    const uint64_t *words = memory;
    for (size_t i = 0; i < bytes / 8; i++)
        sum = (sum ^ words[i]) * 0x100000001b3ul + (sum >> 47);
    return sum;
}

// Dies with its parent; output line by line.
static inline void target_begin(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
}

// Reads a command; ends the program when stdin is closed or the line is "quit". Unbuffered, so that it can be forked.
static inline char *next_command(int fd, char *line, size_t size)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, line + n, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            exit(0);
        if (line[n] == '\n' || n + 2 == size)
            break;
        n++;
    }
    line[n] = 0;
    if (!strcmp(line, "quit"))
        exit(0);
    return line;
}

static inline uint64_t argument(int argc, char **argv, int i, uint64_t otherwise)
{
    return i < argc ? strtoull(argv[i], NULL, 0) : otherwise;
}
#endif

// memory_loop MIB COUNTER [small|huge]: a loop that is bound by memory: reads and writes eight bytes at random places of MIB mebibytes, and counts in the
// file COUNTER (8 bytes), which the bench reads meanwhile. In pages of 4 KiB, or in huge ones (2 MiB) as far as there are any. Says "ready" when all of it is in memory; ends with its standard input.
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4)
        return fprintf(stderr, "usage: memory_loop MIB COUNTER [small|huge]\n"), 2;
    uint64_t words = strtoull(argv[1], NULL, 10) << 17, state = 88172645463325252u;
    uint64_t *memory = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int file = open(argv[2], O_RDWR | O_CREAT, 0600);
    if (memory == MAP_FAILED || file < 0 || ftruncate(file, 4096))
        return perror("memory_loop"), 1;
    _Atomic uint64_t *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counter == MAP_FAILED)
        return perror("memory_loop"), 1;
    if (argc == 4)
        madvise(memory, words * 8, strcmp(argv[3], "huge") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    for (uint64_t i = 0; i < words; i++)
        memory[i] = i;
    puts("ready");
    fflush(stdout);
    for (struct pollfd input = { .fd = 0, .events = POLLIN }; poll(&input, 1, 0) == 0;) {
        for (int i = 0; i < 100000; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            memory[state % words] += state;
        }
        atomic_fetch_add_explicit(counter, 100000, memory_order_relaxed);
    }
    return 0;
}

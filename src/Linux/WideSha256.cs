using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Crstore.Linux;

/// <summary>
/// SHA-256 (FIPS 180-4) of sixteen pages side by side, one in each lane of AVX-512 registers: 2.5 GB/s a core where libcrypto with the processor's SHA instructions gets 1.5.
/// Only <see cref="WidePageHash"/> calls it: on a processor without them it must not run.
/// </summary>
internal static unsafe class WideSha256
{
    /// <summary>Pages at a time.</summary>
    public const int Lanes = 16;

    /// <summary>Bytes of a page.</summary>
    public const int PageBytes = 4096;

    /// <summary>Words of a digest, of 32 bits.</summary>
    public const int Words = 8;

    private const int BlockBytes = 64;
    private const int BlockWords = 16;
    private const int Rounds = 64;
    private const byte Xor = 0x96, Choose = 0xca, Majority = 0xe8; // truth tables of vpternlogd

    private static ReadOnlySpan<uint> Constants =>
    [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    private static ReadOnlySpan<uint> Start => [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

    /// <summary>Behind each page the same block follows, its length: message schedule and constants in one.</summary>
    private static readonly uint[] LastBlock = MakeLastBlock();

    /// <summary>The processor has what it takes.</summary>
    public static bool IsSupported => Avx512F.IsSupported && Avx512BW.IsSupported;

    /// <summary>Hashes <see cref="Lanes"/> pages.</summary>
    /// <param name="from">Where each of them is.</param>
    /// <param name="digests">The first word of each digest, the second of each, and so on.</param>
    public static void Of(byte** from, uint* digests)
    {
        var room = stackalloc Vector512<uint>[Words + BlockWords + 1];
        var state = (Vector512<uint>*)(((nint)room + sizeof(Vector512<uint>) - 1) & ~(sizeof(Vector512<uint>) - 1));
        var w = state + Words;
        for (var i = 0; i < Words; i++) state[i] = Vector512.Create(Start[i]);
        fixed (uint* constants = Constants, last = LastBlock)
        {
            for (var at = 0; at <= PageBytes; at += BlockBytes)
            {
                var (a, b, c, d, e, f, g, h) = (state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7]);
                if (at < PageBytes)
                {
                    Load(from, at, w);
                    for (var k = constants; ; k += BlockWords)
                    {
                        Round(a, b, c, ref d, e, f, g, ref h, w[0] + Vector512.Create(k[0]));
                        Round(h, a, b, ref c, d, e, f, ref g, w[1] + Vector512.Create(k[1]));
                        Round(g, h, a, ref b, c, d, e, ref f, w[2] + Vector512.Create(k[2]));
                        Round(f, g, h, ref a, b, c, d, ref e, w[3] + Vector512.Create(k[3]));
                        Round(e, f, g, ref h, a, b, c, ref d, w[4] + Vector512.Create(k[4]));
                        Round(d, e, f, ref g, h, a, b, ref c, w[5] + Vector512.Create(k[5]));
                        Round(c, d, e, ref f, g, h, a, ref b, w[6] + Vector512.Create(k[6]));
                        Round(b, c, d, ref e, f, g, h, ref a, w[7] + Vector512.Create(k[7]));
                        Round(a, b, c, ref d, e, f, g, ref h, w[8] + Vector512.Create(k[8]));
                        Round(h, a, b, ref c, d, e, f, ref g, w[9] + Vector512.Create(k[9]));
                        Round(g, h, a, ref b, c, d, e, ref f, w[10] + Vector512.Create(k[10]));
                        Round(f, g, h, ref a, b, c, d, ref e, w[11] + Vector512.Create(k[11]));
                        Round(e, f, g, ref h, a, b, c, ref d, w[12] + Vector512.Create(k[12]));
                        Round(d, e, f, ref g, h, a, b, ref c, w[13] + Vector512.Create(k[13]));
                        Round(c, d, e, ref f, g, h, a, ref b, w[14] + Vector512.Create(k[14]));
                        Round(b, c, d, ref e, f, g, h, ref a, w[15] + Vector512.Create(k[15]));
                        if (k == constants + Rounds - BlockWords) break;
                        for (var i = 0; i < BlockWords; i++) w[i] = Next(w[i], w[(i + 1) & 15], w[(i + 9) & 15], w[(i + 14) & 15]);
                    }
                }
                else
                {
                    for (var k = last; k < last + Rounds; k += Words)
                    {
                        Round(a, b, c, ref d, e, f, g, ref h, Vector512.Create(k[0]));
                        Round(h, a, b, ref c, d, e, f, ref g, Vector512.Create(k[1]));
                        Round(g, h, a, ref b, c, d, e, ref f, Vector512.Create(k[2]));
                        Round(f, g, h, ref a, b, c, d, ref e, Vector512.Create(k[3]));
                        Round(e, f, g, ref h, a, b, c, ref d, Vector512.Create(k[4]));
                        Round(d, e, f, ref g, h, a, b, ref c, Vector512.Create(k[5]));
                        Round(c, d, e, ref f, g, h, a, ref b, Vector512.Create(k[6]));
                        Round(b, c, d, ref e, f, g, h, ref a, Vector512.Create(k[7]));
                    }
                }

                state[0] += a;
                state[1] += b;
                state[2] += c;
                state[3] += d;
                state[4] += e;
                state[5] += f;
                state[6] += g;
                state[7] += h;
            }
        }

        for (var i = 0; i < Words; i++) ((Vector512<uint>*)digests)[i] = state[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Round(Vector512<uint> a, Vector512<uint> b, Vector512<uint> c, ref Vector512<uint> d, Vector512<uint> e, Vector512<uint> f, Vector512<uint> g, ref Vector512<uint> h, Vector512<uint> wk)
    {
        var t = h + wk + Avx512F.TernaryLogic(Avx512F.RotateRight(e, 6), Avx512F.RotateRight(e, 11), Avx512F.RotateRight(e, 25), Xor) + Avx512F.TernaryLogic(e, f, g, Choose);
        d += t;
        h = t + Avx512F.TernaryLogic(Avx512F.RotateRight(a, 2), Avx512F.RotateRight(a, 13), Avx512F.RotateRight(a, 22), Xor) + Avx512F.TernaryLogic(a, b, c, Majority);
    }

    // A word of the message schedule from those 16, 15, 7 and 2 before it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Next(Vector512<uint> w16, Vector512<uint> w15, Vector512<uint> w7, Vector512<uint> w2) =>
        w16 + w7 + Avx512F.TernaryLogic(Avx512F.RotateRight(w15, 7), Avx512F.RotateRight(w15, 18), w15 >>> 3, Xor)
        + Avx512F.TernaryLogic(Avx512F.RotateRight(w2, 17), Avx512F.RotateRight(w2, 19), w2 >>> 10, Xor);

    // A block of each page, 16 rows of 16 words, turned: a vector has the same word of all pages.
    private static void Load(byte** from, int at, Vector512<uint>* to)
    {
        const byte Low = 0x44, High = 0xee, Even = 0x88, Odd = 0xdd; // which 128 bits vshufi32x4 takes
        var bigEndian = Vector512.Create(0x0405060700010203, 0x0c0d0e0f08090a0b, 0x0405060700010203, 0x0c0d0e0f08090a0b, 0x0405060700010203, 0x0c0d0e0f08090a0b, 0x0405060700010203, 0x0c0d0e0f08090a0b).AsByte(); // of each word
        var room = stackalloc Vector512<uint>[BlockWords + 1];
        var t = (Vector512<uint>*)(((nint)room + sizeof(Vector512<uint>) - 1) & ~(sizeof(Vector512<uint>) - 1));
        for (var row = 0; row < Lanes; row += 4)
        {
            var r0 = Avx512BW.Shuffle(Vector512.Load(from[row] + at), bigEndian).AsUInt32();
            var r1 = Avx512BW.Shuffle(Vector512.Load(from[row + 1] + at), bigEndian).AsUInt32();
            var r2 = Avx512BW.Shuffle(Vector512.Load(from[row + 2] + at), bigEndian).AsUInt32();
            var r3 = Avx512BW.Shuffle(Vector512.Load(from[row + 3] + at), bigEndian).AsUInt32();
            var (a, b) = (Avx512F.UnpackLow(r0, r1).AsUInt64(), Avx512F.UnpackHigh(r0, r1).AsUInt64());
            var (c, d) = (Avx512F.UnpackLow(r2, r3).AsUInt64(), Avx512F.UnpackHigh(r2, r3).AsUInt64());
            t[row] = Avx512F.UnpackLow(a, c).AsUInt32();
            t[row + 1] = Avx512F.UnpackHigh(a, c).AsUInt32();
            t[row + 2] = Avx512F.UnpackLow(b, d).AsUInt32();
            t[row + 3] = Avx512F.UnpackHigh(b, d).AsUInt32();
        }

        // Of t[row + i] the n-th 128 bits are word 4n + i of four rows.
        for (var i = 0; i < 4; i++)
        {
            var (x0, x1) = (Avx512F.Shuffle4x128(t[i], t[4 + i], Low), Avx512F.Shuffle4x128(t[i], t[4 + i], High));
            var (y0, y1) = (Avx512F.Shuffle4x128(t[8 + i], t[12 + i], Low), Avx512F.Shuffle4x128(t[8 + i], t[12 + i], High));
            to[i] = Avx512F.Shuffle4x128(x0, y0, Even);
            to[4 + i] = Avx512F.Shuffle4x128(x0, y0, Odd);
            to[8 + i] = Avx512F.Shuffle4x128(x1, y1, Even);
            to[12 + i] = Avx512F.Shuffle4x128(x1, y1, Odd);
        }
    }

    private static uint[] MakeLastBlock()
    {
        var w = new uint[Rounds];
        (w[0], w[15]) = (0x80000000, PageBytes * 8);
        for (var i = 16; i < Rounds; i++)
            w[i] = w[i - 16] + w[i - 7] + (BitOperations.RotateRight(w[i - 15], 7) ^ BitOperations.RotateRight(w[i - 15], 18) ^ (w[i - 15] >> 3))
                + (BitOperations.RotateRight(w[i - 2], 17) ^ BitOperations.RotateRight(w[i - 2], 19) ^ (w[i - 2] >> 10));
        for (var i = 0; i < Rounds; i++) w[i] += Constants[i];
        return w;
    }
}

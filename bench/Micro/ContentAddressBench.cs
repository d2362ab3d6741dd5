using System.Security.Cryptography;
using BenchmarkDotNet.Attributes;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Bench.Micro;

/// <summary>
/// Candidates for the content address of a page, 4096 bytes at a time, one core. What must hold against someone who
/// controls page contents: SHA-256, a keyed MAC, or a fast hash with a byte comparison on every hit. CRC-32C stands for
/// what no address can be faster than. The choice is in docs/FORMAT.md.
/// </summary>
public class ContentAddressBench
{
    private const int Pages = 4096; // 16 MiB: beyond the caches, as page buffers are
    private readonly byte[] _memory = new byte[Pages * VirtualPage.Size];
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);
    private readonly byte[] _other = new byte[VirtualPage.Size];
    private AesGcm _gcm = null!;

    [GlobalSetup]
    public void Setup()
    {
        new Random(20261121).NextBytes(_memory);
        _gcm = new AesGcm(_key, 16);
    }

    [GlobalCleanup]
    public void Cleanup() => _gcm.Dispose();

    [Benchmark(Baseline = true, OperationsPerInvoke = Pages, Description = "SHA-256 one-shot (chosen)")]
    public ulong Sha256()
    {
        ulong sum = 0;
        for (var i = 0; i < Pages; i++) sum ^= PageHash.Of(Page(i)).A;
        return sum;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "SHA-256, key in front, incremental")]
    public int KeyedSha256()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> digest = stackalloc byte[32];
        var sum = 0;
        for (var i = 0; i < Pages; i++)
        {
            hash.AppendData(_key);
            hash.AppendData(Page(i));
            hash.GetHashAndReset(digest);
            sum ^= digest[0];
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "HMAC-SHA256 one-shot")]
    public int Hmac()
    {
        Span<byte> digest = stackalloc byte[32];
        var sum = 0;
        for (var i = 0; i < Pages; i++)
        {
            HMACSHA256.HashData(_key, Page(i), digest);
            sum ^= digest[0];
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "AES-GMAC 128 (AesGcm, page as AAD)")]
    public int Gmac()
    {
        Span<byte> nonce = stackalloc byte[12];
        Span<byte> tag = stackalloc byte[16];
        nonce.Clear();
        var sum = 0;
        for (var i = 0; i < Pages; i++)
        {
            _gcm.Encrypt(nonce, [], [], tag, Page(i));
            sum ^= tag[0];
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "SHA-512/256 (SHA-512 truncated)")]
    public int Sha512()
    {
        Span<byte> digest = stackalloc byte[64];
        var sum = 0;
        for (var i = 0; i < Pages; i++)
        {
            SHA512.HashData(Page(i), digest);
            sum ^= digest[0];
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "SHA3-256 (if the platform has it)")]
    public int Sha3()
    {
        if (!SHA3_256.IsSupported) return 0;
        Span<byte> digest = stackalloc byte[32];
        var sum = 0;
        for (var i = 0; i < Pages; i++)
        {
            SHA3_256.HashData(Page(i), digest);
            sum ^= digest[0];
        }

        return sum;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "byte comparison with a stored page (what a fast hash adds per hit)")]
    public bool Compare()
    {
        var same = true;
        for (var i = 0; i < Pages; i++)
        {
            Page(i).CopyTo(_other);
            same &= Page(i).SequenceEqual(_other);
        }

        return same;
    }

    [Benchmark(OperationsPerInvoke = Pages, Description = "CRC-32C (no address: the floor)")]
    public uint Crc()
    {
        uint sum = 0;
        for (var i = 0; i < Pages; i++) sum ^= Crc32C.Of(Page(i), 1);
        return sum;
    }

    private ReadOnlySpan<byte> Page(int index) => _memory.AsSpan(index * VirtualPage.Size, VirtualPage.Size);
}

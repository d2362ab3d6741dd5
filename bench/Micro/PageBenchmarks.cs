using System.Security.Cryptography;
using BenchmarkDotNet.Attributes;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Bench.Micro;

/// <summary>What is done to every single page: the zero test, and the content address with the alternatives to it.</summary>
public class PageBenchmarks
{
    private readonly byte[] _page = new byte[VirtualPage.Size];
    private readonly byte[] _copy = new byte[VirtualPage.Size];
    private readonly byte[] _zero = new byte[VirtualPage.Size];
    private readonly byte[] _key = new byte[32];
    private readonly byte[] _digest = new byte[64];
    private readonly byte[] _tag = new byte[16];
    private readonly byte[] _nonce = new byte[12];
    private AesGcm _gcm = null!;

    /// <summary>A page of random bytes and a key.</summary>
    [GlobalSetup]
    public void Setup()
    {
        new Random(1).NextBytes(_page);
        _page.CopyTo(_copy, 0);
        new Random(2).NextBytes(_key);
        _gcm = new AesGcm(_key, 16);
    }

    /// <summary>A zero page is looked at to its end.</summary>
    [Benchmark]
    public bool ZeroTest() => !_zero.AsSpan().ContainsAnyExcept((byte)0);

    /// <summary>The content address in use.</summary>
    [Benchmark(Baseline = true)]
    public ContentHash ContentAddress() => PageHash.Of(_page);

    /// <summary>Alternative: keyed, with a proven bound.</summary>
    [Benchmark]
    public void Gmac() => _gcm.Encrypt(_nonce, ReadOnlySpan<byte>.Empty, Span<byte>.Empty, _tag, _page);

    /// <summary>Alternative: keyed.</summary>
    [Benchmark]
    public int HmacSha256() => HMACSHA256.HashData(_key, _page, _digest);

    /// <summary>Alternative: 64-bit arithmetic.</summary>
    [Benchmark]
    public int Sha512() => SHA512.HashData(_page, _digest);

    /// <summary>What a fast hash with comparison on every hit would pay for the comparison.</summary>
    [Benchmark]
    public bool Comparison() => _page.AsSpan().SequenceEqual(_copy);
}

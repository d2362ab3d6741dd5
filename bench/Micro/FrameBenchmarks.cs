using BenchmarkDotNet.Attributes;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Tests.Support;

namespace Crstore.Bench.Micro;

/// <summary>A frame of 16 pages, half compressible.</summary>
public class FrameBenchmarks
{
    private readonly byte[] _pages = new byte[ChunkLocation.SlotsPerFrame * VirtualPage.Size];
    private readonly byte[] _result = new byte[ChunkLocation.SlotsPerFrame * VirtualPage.Size];
    private readonly ContentHash[] _hashes = new ContentHash[ChunkLocation.SlotsPerFrame];
    private readonly FrameId _id = new(new Crid(1), 1);
    private byte[] _frame = [];

    /// <summary>Pages by the targets' formula.</summary>
    [GlobalSetup]
    public void Setup()
    {
        for (var slot = 0; slot < _hashes.Length; slot++)
        {
            var page = _pages.AsSpan(slot * VirtualPage.Size, VirtualPage.Size);
            Pattern.Fill(page, 1, 1, (ulong)slot);
            _hashes[slot] = PageHash.Of(page);
        }
        _frame = FrameEncoder.Encode(_id, _hashes, _pages, Compression.Default);
    }

    /// <summary>Compress and frame; hashes are given.</summary>
    [Benchmark]
    public byte[] Encode() => FrameEncoder.Encode(_id, _hashes, _pages, Compression.Default);

    /// <summary>Parse, decompress and check all 16 pages.</summary>
    [Benchmark]
    public void DecodeAll() => FrameReader.Parse(_id, _frame).ReadAll(_result);

    /// <summary>Parse, decompress and check one page.</summary>
    [Benchmark]
    public void DecodeOne() => FrameReader.Parse(_id, _frame).Read(7, _result.AsSpan(0, VirtualPage.Size));
}

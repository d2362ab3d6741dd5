using BenchmarkDotNet.Attributes;
using Crstore.Model;
using Crstore.Store.PageMaps;

namespace Crstore.Bench.Micro;

/// <summary>Page maps: the codec at its two extremes, and the map of an increment of 1 GiB with 1 % changed.</summary>
public class PageMapBenchmarks
{
    private const ulong Pages = 262_144;
    private static readonly SegmentKey Key = new(new Crid(7), new SpaceId(0), 3);
    private readonly PageExtent[] _scattered = new PageExtent[Segment.Pages];
    private readonly PageExtent[] _run = [new(0, Segment.Pages, PageKind.Chunk, new ChunkLocation(new Crid(7), 100))];
    private readonly ulong[] _dirty = new ulong[Pages / 100];
    private byte[] _scatteredBytes = [];
    private byte[] _runBytes = [];
    private PageMap _parent = null!;

    /// <summary>A base's map as the parent.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var random = new Random(1);
        for (var i = 0; i < _scattered.Length; i++)
            _scattered[i] = new PageExtent((ushort)i, 1, PageKind.Chunk, new ChunkLocation(new Crid((ulong)random.Next(1, 7)), (uint)random.Next(1_000_000)));
        _scatteredBytes = SegmentCodec.Encode(Key, _scattered);
        _runBytes = SegmentCodec.Encode(Key, _run);
        var builder = new PageMapBuilder(new Crid(1), new SpaceId(0), null);
        builder.SetChunks(new PageRange(new VirtualPage(0x10000), Pages), new ChunkLocation(new Crid(1), 0));
        var result = builder.Build();
        var segments = result.Segments.ToDictionary(s => s.Number, s => s.Bytes);
        _parent = new PageMap(new Crid(1), new SpaceId(0), result.Root, new Segments(segments));
        for (var i = 0; i < _dirty.Length; i++) _dirty[i] = (ulong)random.NextInt64((long)Pages);
        Array.Sort(_dirty);
    }

    /// <summary>512 chunks from everywhere: the longest segment.</summary>
    [Benchmark]
    public byte[] EncodeScattered() => SegmentCodec.Encode(Key, _scattered);

    /// <summary>The same, back.</summary>
    [Benchmark]
    public PageExtent[] DecodeScattered() => SegmentCodec.Decode(Key, _scatteredBytes).Extents;

    /// <summary>One run of 512: a base's segment.</summary>
    [Benchmark]
    public byte[] EncodeRun() => SegmentCodec.Encode(Key, _run);

    /// <summary>The same, back.</summary>
    [Benchmark]
    public PageExtent[] DecodeRun() => SegmentCodec.Decode(Key, _runBytes).Extents;

    /// <summary>Map of an increment: everything kept but 2621 pages.</summary>
    [Benchmark]
    public PageMapResult BuildIncrement()
    {
        var builder = new PageMapBuilder(new Crid(2), new SpaceId(0), _parent);
        builder.Keep(new PageRange(new VirtualPage(0x10000), Pages));
        for (var i = 0; i < _dirty.Length; i++)
            builder.SetChunk(new VirtualPage(0x10000 + _dirty[i]), new ChunkLocation(new Crid(2), (uint)i));
        return builder.Build();
    }

    private sealed class Segments(Dictionary<ulong, byte[]> bytes) : ISegmentSource
    {
        public ReadOnlyMemory<byte> Load(Crid writer, SpaceId space, ulong segment) => bytes[segment];
    }
}

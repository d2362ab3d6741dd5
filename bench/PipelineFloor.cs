using System.Diagnostics;
using Crstore.Bench.Scenarios;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Bench;

/// <summary>
/// What storing the pages of a checkpoint takes at least: SHA-256 of each page and zstd level 1 of 64 KiB frames of what is new, one behind the other on each
/// core, all cores at it, over the same pages in warm memory. Equal pages are compressed once and those of zeros only looked at, as nobody has to do more.
/// </summary>
internal sealed class PipelineFloor
{
    private const int FrameBytes = ChunkLocation.SlotsPerFrame * VirtualPage.Size;
    private readonly List<(byte[] Pages, byte[] Fresh)> _frames = [];

    /// <summary>Loads the pages of a checkpoint.</summary>
    public PipelineFloor(string store, Captured capture)
    {
        var seen = new HashSet<ContentHash>();
        RealMemory.ReadPages(store, capture.Crid, block =>
        {
            for (var at = 0; at < block.Length; at += FrameBytes)
            {
                var pages = block[at..Math.Min(block.Length, at + FrameBytes)].ToArray();
                using var fresh = new MemoryStream(pages.Length);
                for (var page = 0; page < pages.Length; page += VirtualPage.Size)
                    if (seen.Add(PageHash.Of(pages.AsSpan(page, VirtualPage.Size)))) fresh.Write(pages, page, VirtualPage.Size);
                _frames.Add((pages, fresh.Length == pages.Length ? pages : fresh.ToArray()));
            }
        });
        ContentBytes = _frames.Sum(f => (long)f.Pages.Length);
        for (var left = (long)capture.Logical * VirtualPage.Size - ContentBytes; left > 0; left -= FrameBytes)
        {
            var zeros = GC.AllocateUninitializedArray<byte>(FrameBytes);
            zeros.AsSpan().Clear(); // memory of its own, not the kernel's one page of zeros
            _frames.Add((zeros, []));
        }
    }

    /// <summary>Bytes of the pages that are not zero.</summary>
    public long ContentBytes { get; }

    /// <summary>Processor seconds, of all cores together, that the last of the following took.</summary>
    public double CpuSeconds { get; private set; }

    /// <summary>Seconds for all of it.</summary>
    public double Seconds() => Measure(frame =>
    {
        Hash(frame);
        Compress(frame);
    });

    /// <summary>Seconds for the content addresses alone.</summary>
    public double HashSeconds() => Measure(Hash);

    /// <summary>Seconds for the compression alone.</summary>
    public double CompressSeconds() => Measure(Compress);

    private double Measure(Action<(byte[] Pages, byte[] Fresh)> work)
    {
        Parallel.ForEach(_frames.Take(64), work); // to warm up
        var (clock, before) = (Stopwatch.StartNew(), Environment.CpuUsage.TotalTime);
        Parallel.ForEach(_frames, work);
        CpuSeconds = (Environment.CpuUsage.TotalTime - before).TotalSeconds;
        return clock.Elapsed.TotalSeconds;
    }

    private static void Hash((byte[] Pages, byte[] Fresh) frame)
    {
        if (!frame.Pages.AsSpan().ContainsAnyExcept((byte)0)) return;
        for (var at = 0; at < frame.Pages.Length; at += VirtualPage.Size) _ = PageHash.Of(frame.Pages.AsSpan(at, VirtualPage.Size));
    }

    [ThreadStatic]
    private static byte[]? _packed;

    private static void Compress((byte[] Pages, byte[] Fresh) frame)
    {
        _packed ??= new byte[ZstdCompressor.Bound(FrameBytes)];
        if (frame.Fresh.Length > 0) ZstdCompressor.ThisThread.Wrap(frame.Fresh, _packed, 1);
    }
}

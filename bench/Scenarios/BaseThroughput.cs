using System.Diagnostics;
using System.Security.Cryptography;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Base capture of real process memory, durable, against the slower of SHA-256 per page and zstd level 1 per 64 KiB on all cores
/// over the very pages that the capture stored.
/// </summary>
internal sealed class BaseThroughput : IScenario
{
    private const int FrameBytes = ChunkLocation.SlotsPerFrame * VirtualPage.Size;

    public string Name => "base";

    public string Title => "Base capture of real process memory (redis, python3, node)";

    public void Run(BenchContext context)
    {
        using var target = new RealMemory(context, RealMemory.Three, context.Seed);
        var runs = new List<(Captured Capture, double Sha, double Zstd)>();
        CrstoreProgram crstore = null!;
        var megabytes = 0.0;
        for (var i = 0; i < context.Pick(5, 3); i++)
        {
            crstore = new CrstoreProgram(context.Program, context.FreshPath("store"));
            var capture = crstore.Capture(target.Pid, "--tree", "--series", "base", "--full");
            var pages = Load(crstore.Store, capture.Crid);
            megabytes = pages.Sum(p => (double)p.Length) / 1e6;
            runs.Add((capture, Measure(pages, HashPages), Measure(pages, CompressFrames)));
        }

        var report = context.Report;
        report.Line($"{megabytes:0} MB of pages with content, a fresh store each time; wall: the whole cold process, durable at its end. Cores for the limits: {Environment.ProcessorCount}.");
        report.Table(["run", "wall MB/s", "total MB/s", "frozen ms", "stored MiB", "SHA-256 MB/s", "zstd-1 MB/s"], runs.Select((r, i) => new object[]
        {
            i + 1, megabytes / r.Capture.WallMs * 1000, megabytes / r.Capture.TotalMs * 1000, r.Capture.FrozenMs,
            r.Capture.BytesStored / 1048576.0, megabytes / r.Sha, megabytes / r.Zstd,
        }));
        report.Line("Phases of the last one:");
        report.Table(["phase", "ms", ""], crstore.Phases(runs[^1].Capture.Crid));
        var ours = runs.Select(r => megabytes / r.Capture.WallMs * 1000).Median();
        var limit = Math.Min(runs.Select(r => megabytes / r.Sha).Median(), runs.Select(r => megabytes / r.Zstd).Median());
        report.Verdict($"durable {ours:0} MB/s over the slower of SHA-256 and zstd-1 ({limit:0} MB/s), medians", ours / limit, "×", 0.5, atMost: false);
    }

    private static List<byte[]> Load(string store, ulong crid)
    {
        var blocks = new List<byte[]>();
        RealMemory.ReadPages(store, crid, block => blocks.Add(block.ToArray()));
        return blocks;
    }

    /// <summary>Seconds, after one round to warm up.</summary>
    private static double Measure(List<byte[]> blocks, Action<byte[]> work)
    {
        Parallel.ForEach(blocks.Take(64), work);
        var clock = Stopwatch.StartNew();
        Parallel.ForEach(blocks, work);
        return clock.Elapsed.TotalSeconds;
    }

    private static void HashPages(byte[] block)
    {
        Span<byte> digest = stackalloc byte[32];
        for (var at = 0; at < block.Length; at += VirtualPage.Size)
            SHA256.HashData(block.AsSpan(at, VirtualPage.Size), digest);
    }

    private static void CompressFrames(byte[] block)
    {
        Span<byte> packed = new byte[ZstdCompressor.Bound(FrameBytes)];
        for (var at = 0; at < block.Length; at += FrameBytes)
            ZstdCompressor.ThisThread.Wrap(block.AsSpan(at, Math.Min(FrameBytes, block.Length - at)), packed, 1);
    }
}

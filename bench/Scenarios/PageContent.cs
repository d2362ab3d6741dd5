using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;
using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>
/// Throughput of a base, durable at its end, by what the pages hold (bench/filler.c). The floor: SHA-256 of each page and zstd level 1 of 64 KiB frames
/// of what has to be stored, one after the other on each core, all cores at it, over the same pages in memory.
/// </summary>
internal sealed class PageContent : IScenario
{
    private static readonly (string Kind, string Words)[] Kinds =
        [("zero", "written zeros"), ("same", "one page again"), ("words", "text"), ("heap", "heap"), ("random", "random")];

    public string Name => "content";

    public string Title => "Throughput of a base by page content";

    public void Run(BenchContext context)
    {
        var mebibytes = context.Pick(1024, 192);
        var rows = new List<object[]>();
        var (ours, floors) = (new List<(double, double)>(), new List<(double, double)>());
        foreach (var (kind, words) in Kinds)
        {
            using var target = TargetProcess.Start(context.Tool("filler"), $"{mebibytes}", kind, $"{context.Seed}");
            target.Expect("ready", TimeSpan.FromMinutes(2));
            var (speeds, limits, stored) = (new List<double>(), new List<double>(), 0.0);
            for (var i = 0; i < context.Pick(5, 3); i++) // in turn: what the machine can do changes from moment to moment
            {
                var store = context.FreshPath("store");
                var capture = new CrstoreProgram(context.Program, store).Capture(target.Pid, "--series", "content", "--full");
                var megabytes = capture.Logical * VirtualPage.Size / 1e6;
                speeds.Add(megabytes / capture.WallMs * 1000);
                limits.Add(megabytes / Floor(store, capture));
                stored = capture.BytesStored / 1048576.0;
                Directory.Delete(store, recursive: true);
            }

            var (speed, limit) = (speeds.Median(), limits.Median());
            rows.Add([words, speed, limit, speed / limit, stored]);
            ours.Add((rows.Count, speed));
            floors.Add((rows.Count, limit));
        }

        context.Report.Line($"{mebibytes} MiB each, a fresh store each time; MB/s of the whole cold process, runtime start and the last sync included.");
        context.Report.Table(["pages hold", "crstore MB/s", "floor MB/s", "× floor", "stored MiB"], rows);
        var plot = new LinePlot("Base throughput against page content", "what the pages hold", "MB/s") { Places = [.. Kinds.Select(k => k.Words)] };
        context.Report.Plot("content-throughput", plot.With("crstore", ours).With("floor: SHA-256 + zstd-1", floors));
    }

    /// <summary>Seconds for the pages of a checkpoint; those that are equal are compressed once, those of zeros only looked at, as nobody has to do more.</summary>
    private static double Floor(string store, Captured capture)
    {
        var frames = new List<(byte[] Pages, byte[] Fresh)>();
        var seen = new HashSet<ulong>();
        RealMemory.ReadPages(store, capture.Crid, block =>
        {
            for (var at = 0; at < block.Length; at += FrameBytes)
            {
                var pages = block[at..Math.Min(block.Length, at + FrameBytes)].ToArray();
                using var fresh = new MemoryStream(pages.Length);
                for (var page = 0; page < pages.Length; page += VirtualPage.Size)
                    if (seen.Add(BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(pages.AsSpan(page, VirtualPage.Size))))) fresh.Write(pages, page, VirtualPage.Size);
                frames.Add((pages, fresh.ToArray()));
            }
        });
        for (var left = (long)capture.Logical * VirtualPage.Size - frames.Sum(f => (long)f.Pages.Length); left > 0; left -= FrameBytes)
        {
            var zeros = GC.AllocateUninitializedArray<byte>(FrameBytes);
            zeros.AsSpan().Clear(); // memory of its own, not the kernel's one page of zeros
            frames.Add((zeros, []));
        }

        Parallel.ForEach(frames.Take(64), Work);
        var clock = Stopwatch.StartNew();
        Parallel.ForEach(frames, Work);
        return clock.Elapsed.TotalSeconds;
    }

    private const int FrameBytes = ChunkLocation.SlotsPerFrame * VirtualPage.Size;

    private static void Work((byte[] Pages, byte[] Fresh) frame)
    {
        if (!frame.Pages.AsSpan().ContainsAnyExcept((byte)0)) return;
        Span<byte> digest = stackalloc byte[32];
        for (var at = 0; at < frame.Pages.Length; at += VirtualPage.Size) SHA256.HashData(frame.Pages.AsSpan(at, VirtualPage.Size), digest);
        if (frame.Fresh.Length > 0) ZstdCompressor.ThisThread.Wrap(frame.Fresh, new byte[ZstdCompressor.Bound(FrameBytes)], 1);
    }
}

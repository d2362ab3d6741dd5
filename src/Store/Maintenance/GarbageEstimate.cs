using System.Diagnostics;
using System.Numerics;
using Crstore.Store.Layout;

namespace Crstore.Store.Maintenance;

/// <summary>What a gc would free if no capture was running: counted on a snapshot, nothing is touched.</summary>
internal static class GarbageEstimate
{
    /// <summary>Counts.</summary>
    public static GcResult Make(CheckpointStore store, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        var began = Stopwatch.GetTimestamp();
        using var reader = store.OpenReader();
        var condemned = Condemned.Look(reader.Database, progress, cancel);
        var tally = new GcTally { Segments = (ulong)condemned.Segments.Count, OrphanFiles = Orphans(store.Paths) };
        foreach (var (frame, dead) in condemned.Chunks.Frames())
            Count(tally, BitOperations.PopCount((uint)condemned.Live.Chunks.Slots(frame)), BitOperations.PopCount((uint)dead));
        foreach (var (group, dead) in condemned.Chunks.Groups())
            Count(tally, BitOperations.PopCount(condemned.Live.Chunks.Slots(group)), BitOperations.PopCount(dead));

        var bytes = StoreSizes.DirectoryBytes(store.Paths.Database);
        return tally.Result(bytes, bytes, Stopwatch.GetElapsedTime(began), [], dryRun: true);
    }

    private static void Count(GcTally tally, int live, int gone)
    {
        if (live > gone) return;
        tally.Chunks += (ulong)gone;
        if (live == 0) tally.FramesDeleted++;
        else tally.FramesRewritten++;
    }

    private static ulong Orphans(StorePaths paths) => (ulong)Directory.GetFiles(paths.Incoming)
        .Count(f => StorePaths.OwnerOf(f) is var owner && !File.Exists(paths.Session(owner)) && !File.Exists(Path.Combine(paths.Sessions, $"new-{owner}")));
}

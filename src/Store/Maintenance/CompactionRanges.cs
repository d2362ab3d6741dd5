using System.Numerics;
using Crstore.Store.Frames;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Where compaction pays: ranges around the frames that were touched. Two of them are joined if what lies between is so
/// little that copying it is cheaper than another compaction.
/// </summary>
internal static class CompactionRanges
{
    private const ulong CheaperCopied = 4096; // chunks: at most 16 MiB

    /// <summary>Ranges, first and last frame, in order.</summary>
    public static IReadOnlyList<(FrameId From, FrameId To)> Around(IEnumerable<FrameId> touched, ChunkMarks live)
    {
        var sorted = touched.OrderBy(f => f.Crid).ThenBy(f => f.Number).ToList();
        var ranges = new List<(FrameId From, FrameId To)>();
        using var between = live.Frames().GetEnumerator();
        var more = between.MoveNext();
        foreach (var frame in sorted)
        {
            ulong chunks = 0;
            while (more && Before(between.Current.Frame, frame))
            {
                chunks += (ulong)BitOperations.PopCount((uint)between.Current.Slots);
                more = between.MoveNext();
            }

            if (ranges.Count > 0 && chunks <= CheaperCopied) ranges[^1] = (ranges[^1].From, frame);
            else ranges.Add((frame, frame));
        }

        return ranges;
    }

    private static bool Before(FrameId x, FrameId y) => x.Crid != y.Crid ? x.Crid.CompareTo(y.Crid) < 0 : x.Number < y.Number;
}

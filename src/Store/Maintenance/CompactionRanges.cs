using System.Numerics;
using Crstore.Store.Frames;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Where compaction pays: ranges around the frames that were touched. Two of them are joined if what lies between is so
/// little that copying it is cheaper than another compaction; up to a size that doesn't keep the write lock for minutes.
/// </summary>
internal static class CompactionRanges
{
    private const ulong CheaperCopied = 4096; // chunks: at most 16 MiB
    private const ulong MostInOne = 1 << 18;   // chunks: at most 1 GiB

    /// <summary>Ranges, first and last frame, in order.</summary>
    public static IReadOnlyList<(FrameId From, FrameId To)> Around(IEnumerable<FrameId> touched, ChunkMarks live)
    {
        var sorted = touched.OrderBy(f => f.Crid).ThenBy(f => f.Number).ToList();
        var ranges = new List<(FrameId From, FrameId To)>();
        using var between = live.Frames().GetEnumerator();
        var more = between.MoveNext();
        ulong held = 0;
        foreach (var frame in sorted)
        {
            ulong chunks = 0;
            while (more && Before(between.Current.Frame, frame))
            {
                chunks += (ulong)BitOperations.PopCount((uint)between.Current.Slots);
                more = between.MoveNext();
            }

            // Nothing live between costs nothing, and is never cut: a whole CRID that went is such a pair of frames.
            if (ranges.Count > 0 && (chunks == 0 || chunks <= CheaperCopied && held + chunks <= MostInOne))
            {
                ranges[^1] = (ranges[^1].From, frame);
                held += chunks;
            }
            else
            {
                ranges.Add((frame, frame));
                held = 0;
            }
        }

        return ranges;
    }

    private static bool Before(FrameId x, FrameId y) => x.Crid != y.Crid ? x.Crid.CompareTo(y.Crid) < 0 : x.Number < y.Number;
}

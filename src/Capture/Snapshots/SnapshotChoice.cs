namespace Crstore.Capture.Snapshots;

/// <summary>
/// Whether the last freeze copies what is to be read, or makes a copy-on-write snapshot of the process and lets it go. The snapshot costs what fork(2) does: page tables for all that is there, however little is
/// to be read; and the target a fault and a copy at the first write to each page.
/// </summary>
public static class SnapshotChoice
{
    /// <summary>Less than this is copied in a few ms.</summary>
    public const long LeastBytes = 64L << 20;

    /// <summary>Copying a MiB takes four times as long as the page tables of one (measured: docs/PERFORMANCE.md); half of that is for the faults afterwards.</summary>
    public const long ForkedPerCopied = 2;

    /// <summary>True if it pays.</summary>
    /// <param name="policy">What was asked for.</param>
    /// <param name="copyBytes">What the freeze would have to copy, of memory that a snapshot has.</param>
    /// <param name="populatedBytes">All that is there.</param>
    public static bool Pays(SnapshotPolicy policy, long copyBytes, long populatedBytes) => policy switch
    {
        SnapshotPolicy.Never => false,
        SnapshotPolicy.Always => true,
        _ => copyBytes >= LeastBytes && copyBytes >= populatedBytes / ForkedPerCopied,
    };
}

using System.Globalization;
using Crstore.Model.Format;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>
/// Whether the kernel has moved pages to other frames meanwhile (migration, compaction), anywhere on the machine. Soft-dirty's <see cref="Crstore.Capture.Tracking.FrameWitness"/> takes the block of such a
/// page for memory that was moved, and reads all of it: right, and more than was written. Only then that is let pass.
/// </summary>
internal sealed class FrameMoves(TrackerKind tracker)
{
    private readonly long _before = Moved();

    private bool MayRead => tracker == TrackerKind.SoftDirty && Moved() != _before;

    /// <summary>So many pages are read of some.</summary>
    public void AssertRead(ulong expected, TestCapture capture, ulong address, ulong pages)
    {
        var read = capture.ReadWithin(address, pages);
        Assert.True(read == expected || (MayRead && read > expected), $"{read} pages read instead of {expected}: {capture.Proof.Reason}");
    }

    /// <summary>So many pages are kept of some.</summary>
    public void AssertKept(ulong expected, TestCapture capture, ulong address, ulong pages)
    {
        var kept = capture.KeptWithin(address, pages);
        Assert.True(kept == expected || (MayRead && kept < expected), $"{kept} pages kept instead of {expected}: {capture.Proof.Reason}");
    }

    // proc_vmstat(5); not there without CONFIG_MIGRATION
    private static long Moved() =>
        File.ReadLines("/proc/vmstat").FirstOrDefault(l => l.StartsWith("pgmigrate_success ", StringComparison.Ordinal)) is { } line ? long.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture) : 0;
}

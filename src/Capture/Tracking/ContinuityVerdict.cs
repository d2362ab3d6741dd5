using Crstore.Capture.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>May the tracker's "clean" be believed for the parent's pages? One sentence says why, or why not.</summary>
/// <param name="Continuous">Yes.</param>
/// <param name="Reason">For a person.</param>
public readonly record struct ContinuityVerdict(bool Continuous, string Reason)
{
    /// <summary>Compares what the parent left with what is found now: docs/ARCHITECTURE.md, "Continuity".</summary>
    /// <param name="tracker">The tracker in use now.</param>
    /// <param name="parent">The process in the parent checkpoint.</param>
    /// <param name="target">The process now.</param>
    /// <param name="bootId">This boot.</param>
    /// <param name="token">The generation records now, before our own bump.</param>
    public static ContinuityVerdict Decide(TrackerKind tracker, ParentLink? parent, TargetIdentity target, string bootId, ReadOnlySpan<byte> token)
    {
        if (tracker == TrackerKind.Hash) return No("every page is read and compared by content");
        if (parent is null) return No("this process is not in the parent checkpoint: everything is read");
        if (parent.Proof is not { } proof) return No($"CRID {parent.Crid} left no proof for this process");
        if (parent.BootId != bootId || bootId.Length == 0) return No($"the machine was started again since CRID {parent.Crid}");
        if (parent.Process.StartTimeTicks != target.StartTimeTicks)
            return No($"pid {target.Pid} is another process than in CRID {parent.Crid}");
        if (proof.AtRandom.IsEmpty || target.AtRandom.Length == 0) return No("the program's fingerprint (AT_RANDOM) can't be read");
        if (!proof.AtRandom.Span.SequenceEqual(target.AtRandom)) return No($"the process has called execve since CRID {parent.Crid}");
        if (proof.Tracker != tracker) return No($"CRID {parent.Crid} was captured with tracker {Name(proof.Tracker)}, this one with {Name(tracker)}");
        if (proof.GenerationToken.IsEmpty) return No($"CRID {parent.Crid} did not arm the tracker");
        if (!proof.GenerationToken.Span.SequenceEqual(token))
            return No($"somebody reset the dirty state since CRID {parent.Crid} (a capture into another store, or one that failed)");
        return new(true, $"same boot, process and program as CRID {parent.Crid}, and nobody reset the {Name(tracker)} state since");
    }

    /// <summary>Not to be believed.</summary>
    public static ContinuityVerdict No(string reason) => new(false, reason);

    /// <summary>As on the command line.</summary>
    public static string Name(TrackerKind tracker) => tracker switch
    {
        TrackerKind.Hash => "hash",
        TrackerKind.SoftDirty => "soft-dirty",
        TrackerKind.Uffd => "uffd",
        _ => "none",
    };
}

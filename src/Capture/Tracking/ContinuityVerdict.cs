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
        if (parent.Proof is not { } proof) return No($"{parent.Name} left no proof for this process");
        if (parent.BootId != bootId || bootId.Length == 0) return No($"the machine was started again since {parent.Name}");
        if (parent.Process.StartTimeTicks != target.StartTimeTicks)
            return No($"pid {target.Pid} is another process than in {parent.Name}");
        if (proof.AtRandom.IsEmpty || target.AtRandom.Length == 0) return No("the program's fingerprint (AT_RANDOM) can't be read");
        if (!proof.AtRandom.Span.SequenceEqual(target.AtRandom)) return No($"the process has called execve since {parent.Name}");
        if (proof.Tracker != tracker) return No($"{parent.Name} was captured with tracker {Name(proof.Tracker)}, this one with {Name(tracker)}");
        if (proof.GenerationToken.IsEmpty) return No($"{parent.Name} did not arm the tracker");
        if (!proof.GenerationToken.Span.SequenceEqual(token))
            return No($"somebody reset the dirty state since {parent.Name} (a capture into another store, or one that failed)");
        return new(true, $"same boot, process and program as {parent.Name}, and nobody reset the {Name(tracker)} state since");
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

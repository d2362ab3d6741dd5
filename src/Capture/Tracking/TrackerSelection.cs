using Crstore.Capture.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>What of a target bears on the choice of a tracker.</summary>
/// <param name="Pid">Process.</param>
/// <param name="ForeignUffd">A userfaultfd of its own; empty if none.</param>
/// <param name="PinsMemory">What lets the kernel or a device write to its memory past the page tables; empty if nothing.</param>
/// <param name="Distrusted">Trackers that lied in this series.</param>
public sealed record TrackerCircumstances(int Pid, string ForeignUffd, string PinsMemory, IReadOnlySet<TrackerKind> Distrusted)
{
    /// <summary>A process that has the same address space (vfork, CLONE_VM); empty if none is known.</summary>
    public string SharesMemory { get; init; } = "";
}

/// <summary>Chooses the tracker: the best that works by trial, or the one asked for, or says why that can't be.</summary>
public static class TrackerSelection
{
    /// <summary>The choice, and one clause for each tracker passed over.</summary>
    /// <param name="asked">The user's choice; null for the best.</param>
    /// <param name="circumstances">The target.</param>
    /// <param name="passedOver">Why not a better one; empty if it is the best or the one asked for.</param>
    /// <exception cref="EnvironmentException">The kernel can't do what was asked for.</exception>
    /// <exception cref="TargetException">The target doesn't allow what was asked for.</exception>
    public static TrackerKind Choose(TrackerKind? asked, TrackerCircumstances circumstances, out string passedOver)
    {
        passedOver = "";
        if (asked is TrackerKind.Hash) return TrackerKind.Hash;
        if (asked is { } kind and not TrackerKind.Unspecified)
        {
            if (KernelProblem(kind) is { Length: > 0 } kernel)
                throw new EnvironmentException($"tracker {ContinuityVerdict.Name(kind)} does not work here: {kernel}", "use --tracker auto or --tracker hash");
            if (TargetProblem(kind, circumstances) is { Length: > 0 } target)
                throw new TargetException($"tracker {ContinuityVerdict.Name(kind)} can't be used for process {circumstances.Pid}: {target}", "use --tracker auto or --tracker hash");
            return kind;
        }

        foreach (var candidate in (ReadOnlySpan<TrackerKind>)[TrackerKind.Uffd, TrackerKind.SoftDirty])
        {
            var problem = KernelProblem(candidate) is { Length: > 0 } kernel ? kernel : TargetProblem(candidate, circumstances);
            if (problem.Length == 0) return candidate;
            passedOver += $"{(passedOver.Length == 0 ? "" : "; ")}not {ContinuityVerdict.Name(candidate)}: {problem}";
        }

        return TrackerKind.Hash;
    }

    /// <summary>Why the kernel can't do it; empty if it can.</summary>
    public static string KernelProblem(TrackerKind kind)
    {
        var probes = KernelProbes.Current;
        return kind switch
        {
            TrackerKind.Uffd => probes.UffdReason,
            TrackerKind.SoftDirty when !probes.SoftDirty => probes.SoftDirtyReason,
            TrackerKind.SoftDirty when !probes.ZeroPageTellable && probes.PagemapScan =>
                "the huge zero page can't be told from others (PAGEMAP_SCAN of this kernel doesn't tell it, and frame numbers are hidden without CAP_SYS_ADMIN)",
            TrackerKind.SoftDirty when !probes.ZeroPageTellable =>
                "the zero page can't be told from others (frame numbers are hidden without CAP_SYS_ADMIN, and there is no PAGEMAP_SCAN)",
            TrackerKind.SoftDirty when !probes.SoftDirtySurvivesMove && probes.ZeroFrames.Small == 0 =>
                "mremap moves memory without marking it here, which can be noticed by frame numbers only, and those are hidden without CAP_SYS_ADMIN",
            _ => "",
        };
    }

    /// <summary>Why the target doesn't allow it; empty if it does.</summary>
    public static string TargetProblem(TrackerKind kind, TrackerCircumstances circumstances)
    {
        if (kind == TrackerKind.Hash) return "";
        if (circumstances.Distrusted.Contains(kind)) return "it was caught calling a changed page clean in this series";
        if (circumstances.PinsMemory.Length > 0) return $"the kernel or a device may write to its memory unseen: {circumstances.PinsMemory}";
        if (kind == TrackerKind.SoftDirty && circumstances.SharesMemory.Length > 0)
            return $"it shares its memory with {circumstances.SharesMemory}, whose captures would reset it unseen";
        if (kind == TrackerKind.Uffd && circumstances.ForeignUffd.Length > 0) return $"it has a userfaultfd of its own: {circumstances.ForeignUffd}";
        return "";
    }
}

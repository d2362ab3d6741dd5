using Crstore.Model.Format;
using Crstore.Objects.Processes;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>
/// Which memory may be filled while the program runs already: private, anonymous, and of no kind that makes pages by itself or can't be changed.
/// All other memory is filled before. What a child gets of it (MADV_DONTFORK, _WIPEONFORK) makes no difference: none is born before all is filled.
/// </summary>
internal static class LazyPlan
{
    // smaps' VmFlags, proc(5): locked, grows down, huge pages of hugetlbfs, MADV_MERGEABLE, mseal(2), of devices: what is rare is not worth a proof.
    private static readonly string[] NotLazy = ["lo", "lf", "gd", "ht", "mg", "sl", "pf", "io", "dp"];

    // Less than that is filled as fast as it is prepared.
    private const ulong LeastPages = 1024, LeastPagesOfMapping = 16;

    /// <summary>The mappings of a process; empty if it isn't worth while, or all is to be filled first.</summary>
    /// <param name="source">Its image.</param>
    /// <param name="mapped">What its mappings map.</param>
    public static List<Vma> Of(ProcessImage source, MappedFiles mapped)
    {
        var process = source.Process;
        // What is to be stopped is let go by a signal.
        if (process.WasStopped || PendingSignals.AreToStop(process) || process.LocksFutureMemory != 0) return [];
        var found = new List<Vma>();
        ulong all = 0;
        foreach (var vma in process.Vmas)
        {
            if (vma.Shared || Mappings.IsKernels(vma) || mapped.FdOf(vma) is not null || vma.Protection == 0 || vma.Guards.Count > 0 || vma.Content == VmaContent.NotCaptured) continue;
            if (vma.VmFlags.Split(' ').Any(f => NotLazy.Contains(f))) continue;
            ulong pages = 0;
            foreach (var run in source.Runs(vma))
                if (run.Content == ImageContent.Saved) pages += run.Range.Count;
            if (pages < LeastPagesOfMapping) continue;
            found.Add(vma);
            all += pages;
        }

        return all < LeastPages ? [] : found;
    }
}

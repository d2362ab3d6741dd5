using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>Populated pages with the same properties.</summary>
public readonly record struct PageRun(PageRange Range, PageCategories Flags);

/// <summary>What happens to pages of the target.</summary>
public enum PageAction : byte
{
    /// <summary>Proven to be as in the parent.</summary>
    Keep,

    /// <summary>All zero.</summary>
    Zero,

    /// <summary>Copied.</summary>
    Read,

    /// <summary>Left out.</summary>
    Exclude,

    /// <summary>Left out, since data can't be told from holes: shared memory that this process has not mapped.</summary>
    Hide,
}

/// <summary>A run of pages to be treated alike.</summary>
/// <param name="Range">Pages.</param>
/// <param name="Action">What to do.</param>
/// <param name="Vma">Index of the VMA in the plan.</param>
public readonly record struct PlanRun(PageRange Range, PageAction Action, int Vma);

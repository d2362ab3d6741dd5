using Crstore.Model.Format;

namespace Crstore.Model;

/// <summary>
/// A checkpoint being written: what a capture sees of the store. Nothing is visible to anyone before
/// <see cref="Commit"/> returns; disposing without it leaves only garbage that gc may take.
/// Not thread safe: one capture drives it from one thread at a time.
/// </summary>
public interface ICheckpointWriter : IDisposable
{
    /// <summary>The id of this attempt: durable before anything else happened, never used again even if it fails.</summary>
    Crid Crid { get; }

    /// <summary>Stable id of the store, for continuity records.</summary>
    Guid StoreId { get; }

    /// <summary>The checkpoint this one may be an increment to; null for a base.</summary>
    CheckpointManifest? Parent { get; }

    /// <summary>Trackers that were caught lying in this series and must not be trusted in it again.</summary>
    IReadOnlySet<TrackerKind> DistrustedTrackers { get; }

    /// <summary>
    /// The parent is frozen and captured, but its own writing goes on: it is known what it holds, and nothing can be given to the store yet.
    /// Spaces tell <see cref="ISpaceWriter.ParentSpans"/> at once; everything else that they are told or asked waits as <see cref="AwaitParent"/> does.
    /// </summary>
    bool ParentIsPending => false;

    /// <summary>Waits until the parent is committed.</summary>
    /// <exception cref="VoidCaptureException">It was not, or not as it was announced.</exception>
    void AwaitParent()
    {
    }

    /// <summary>Starts the page map of one address space. Each id once.</summary>
    /// <param name="id">Number in this checkpoint.</param>
    /// <param name="parentSpace">The parent's space that <see cref="ISpaceWriter.Keep"/> refers to; null if there is none.</param>
    ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace);

    /// <summary>Times the capture: what the store does from its first lock to its last is in it, and whoever drives the writer enters the rest.</summary>
    PhaseClock Clock { get; }

    /// <summary>Counters so far.</summary>
    PageCounters Counters { get; }

    /// <summary>All content is given, and the commit is near: what that would have to wait for may begin. It may still not come.</summary>
    void Approach()
    {
    }

    /// <summary>
    /// Makes the checkpoint durable and visible in one atomic step. The store fills in crid, parent, series, kind,
    /// store counters, bytes stored and the phases up to there; the caller fills in the rest. Spaces that no process of the body names are dropped: they
    /// belonged to processes that were gone when the freeze came.
    /// </summary>
    /// <param name="manifest">Header and body.</param>
    /// <param name="distrust">A tracker to distrust in this series from now on, if one was caught lying.</param>
    /// <param name="finalize">Called under the write lock just before the commit, to set total_ns.</param>
    /// <exception cref="StoreBusyException">The write lock could not be had in time.</exception>
    /// <exception cref="EnvironmentException">No space, read-only file system…</exception>
    CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null);
}

/// <summary>The page map of one address space being written. A later call overrides an earlier one for the same pages;
/// pages never mentioned are absent.</summary>
public interface ISpaceWriter
{
    /// <summary>Runs of the parent's page map whose kind is not Absent, in address order; empty without a parent space.</summary>
    IReadOnlyList<PageSpan> ParentSpans { get; }

    /// <summary>These pages are as in the parent, and that is proven. Throws <see cref="ArgumentException"/> if the parent's
    /// entry for one of them is Absent or Excluded: there is nothing to keep.</summary>
    void Keep(PageRange range);

    /// <summary>These pages are all zero.</summary>
    void SetZero(PageRange range);

    /// <summary>These pages had content that is not saved.</summary>
    void SetExcluded(PageRange range);

    /// <summary>There is nothing any more, whatever was said before.</summary>
    void SetAbsent(PageRange range);

    /// <summary>Whole pages, consecutive from <paramref name="first"/>. The memory is free again when this returns.</summary>
    void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages);

    /// <summary>Runs of pages in memory that is lent: it may be read after this has returned, until the loan says that nobody does.</summary>
    /// <param name="runs">Which pages, in address order.</param>
    /// <param name="pages">Their content, one run behind the other.</param>
    /// <param name="loan">Of that memory.</param>
    void SetContent(IReadOnlyList<PageRange> runs, ReadOnlyMemory<byte> pages, PageLoan loan)
    {
        foreach (var run in runs)
        {
            SetContent(run.Start, pages[..(int)run.SizeBytes]);
            pages = pages[(int)run.SizeBytes..];
        }
    }

    /// <summary>True if the page's content is what the parent has for it: the check of a sampled clean page.</summary>
    bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content);

    /// <summary>Forgets everything said so far: all pages are absent again. For a second attempt after a tracker lied.</summary>
    void Clear();
}

/// <summary>Pages of a space that have content, in address order: what a capture that is built on this one may keep.</summary>
public sealed record SpaceContent(SpaceId Space, IReadOnlyList<PageRange> Pages);

/// <summary>Header and body of a checkpoint.</summary>
public sealed record CheckpointManifest(CheckpointHeader Header, CheckpointBody Body)
{
    /// <summary>The header's CRID, typed.</summary>
    public Crid Crid => new(Header.Crid);
}

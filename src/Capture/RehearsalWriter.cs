using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>A writer that forgets everything: the rehearsal on a throw-away process takes the real path into it.</summary>
internal sealed class RehearsalWriter(Guid storeId) : ICheckpointWriter
{
    public Crid Crid => new(ulong.MaxValue);
    public Guid StoreId { get; } = storeId;
    public CheckpointManifest? Parent => null;
    public IReadOnlySet<TrackerKind> DistrustedTrackers { get; } = new HashSet<TrackerKind>();
    public PhaseClock Clock { get; } = new();
    public PageCounters Counters { get; } = new();
    public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace) => new Space();
    public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null) => manifest.Header;
    public void Dispose() { }

    private sealed class Space : ISpaceWriter
    {
        public IReadOnlyList<PageSpan> ParentSpans => [];
        public void Keep(PageRange range) { }
        public void SetZero(PageRange range) { }
        public void SetExcluded(PageRange range) { }
        public void SetAbsent(PageRange range) { }
        public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages) { }
        public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => true;
        public void Clear() { }
    }
}

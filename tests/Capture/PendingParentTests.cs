using System.Globalization;
using Crstore.Capture;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Memory;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture;

/// <summary>A capture whose parent is announced and not committed yet.</summary>
public sealed class PendingParentTests
{
    [Fact]
    public void What_finds_no_room_in_the_freeze_waits_for_the_parent_behind_it_and_is_captured_anew()
    {
        using var target = TargetProcess.Start("pattern_writer", "8", $"{Seeds.Next()}");
        var ready = target.Expect("ready ").Split(' ');
        using var writer = new LateParentWriter(target.Pid);
        var announced = new List<IReadOnlyList<SpaceContent>>();
        CaptureSession.Run(new CaptureOptions
        {
            Pid = target.Pid,
            Tracker = TrackerKind.Hash,
            BufferBytes = 1 << 20,
            MaxFrozen = 2 * Patience.Limit,
            Thawed = (_, content) =>
            {
                Assert.False(writer.IsStopped);
                announced.Add(content);
            },
        }, writer, null, CancellationToken.None);
        Assert.Equal(1, writer.Awaited);
        Assert.True(writer.Committed);
        target.Ask("write-permille 0"); // it goes on working

        using var memory = ProcessMemory.Open(target.Pid);
        var page = new byte[VirtualPage.Size];
        var first = VirtualPage.Of(ulong.Parse(ready[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
        for (var (at, end) = (first.Number, first.Number + ulong.Parse(ready[1], CultureInfo.InvariantCulture)); at < end; at++)
        {
            Assert.True(memory.TryRead(at * VirtualPage.Size, page));
            Assert.Equal(PageHash.Of(page), writer.Space.Pages[at].Hash);
        }

        // What was announced is what is there.
        var content = writer.Space.Pages.Where(p => p.Value.Kind is PageKind.Chunk or PageKind.Zero).Select(p => p.Key);
        Assert.Equal(content, Assert.Single(Assert.Single(announced)).Pages.SelectMany(r => Enumerable.Range(0, (int)r.Count).Select(i => r.Start.Number + (ulong)i)));
    }

    [Theory]
    [InlineData(PreCopyPolicy.Never)]
    [InlineData(PreCopyPolicy.Always)]
    public void While_it_waits_for_its_parent_the_target_is_free_for_others(PreCopyPolicy rounds)
    {
        Requires.That(KernelProbes.Current.UffdWriteProtect, "userfaultfd with asynchronous write protection: without a tracker no record is kept");
        using var target = TargetProcess.Start("pattern_writer", "8", $"{Seeds.Next()}");
        target.Expect("ready ");
        using var writer = new LateParentWriter(target.Pid, fromTheStart: true);
        CaptureSession.Run(new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Uffd, BufferBytes = 1 << 20, PreCopy = rounds, MaxFrozen = 2 * Patience.Limit }, writer, null, CancellationToken.None);
        Assert.Equal(1, writer.Awaited);
        Assert.True(writer.Committed);
        Assert.False(writer.RecordWasHeld, "the parent could not freeze the target anew, and waits for us as we wait for it");
    }

    /// <summary>Its parent is pending, from the start or as it turns out in the freeze, and then until it is waited for.</summary>
    private sealed class LateParentWriter(int pid, bool fromTheStart = false) : ICheckpointWriter
    {
        private bool pending = fromTheStart;

        public MemorySpace Space { get; } = new(null);

        /// <summary>Its wait found the target's continuity record locked by this process.</summary>
        public bool RecordWasHeld { get; private set; }

        public int Awaited { get; private set; }

        public bool Committed { get; private set; }

        public bool IsStopped
        {
            get
            {
                var stat = File.ReadAllText($"/proc/{pid}/stat");
                return stat[stat.LastIndexOf(')') + 2] is 't' or 'T';
            }
        }

        public bool ParentIsPending => pending |= Awaited == 0 && IsStopped;

        public Crid Crid => new(2);

        public Guid StoreId { get; } = Guid.NewGuid();

        public PhaseClock Clock { get; } = new();

        public CheckpointManifest? Parent => null;

        public IReadOnlySet<TrackerKind> DistrustedTrackers { get; } = new HashSet<TrackerKind>();

        public PageCounters Counters { get; } = new();

        public void AwaitParent()
        {
            Assert.False(IsStopped);
            RecordWasHeld |= FdLinks.Of(Environment.ProcessId).Exists(link => link.Contains($"/targets/{pid}-", StringComparison.Ordinal));
            Awaited++;
            pending = false;
        }

        public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace) => new WaitingSpace(this);

        public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null)
        {
            Assert.False(ParentIsPending);
            Committed = true;
            return manifest.Header;
        }

        public void Dispose()
        {
        }
    }
    /// <summary>Waits for the parent with what it is told, as a space of the store does.</summary>
    private sealed class WaitingSpace(LateParentWriter writer) : ISpaceWriter
    {
        private MemorySpace Settled
        {
            get
            {
                if (writer.ParentIsPending) writer.AwaitParent();
                return writer.Space;
            }
        }

        public IReadOnlyList<PageSpan> ParentSpans => [];

        public void Keep(PageRange range) => Settled.Keep(range);

        public void SetZero(PageRange range) => Settled.SetZero(range);

        public void SetExcluded(PageRange range) => Settled.SetExcluded(range);

        public void SetAbsent(PageRange range) => Settled.SetAbsent(range);

        public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages) => Settled.SetContent(first, pages);

        public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => Settled.MatchesParent(page, content);

        public void Clear() => Settled.Clear();
    }
}

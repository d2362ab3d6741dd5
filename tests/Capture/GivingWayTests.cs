using System.Collections.Concurrent;
using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Memory;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture;

/// <summary>When crstore's own threads give way to the target, and when they don't.</summary>
public sealed class GivingWayTests
{
    private const int Way = 7;

    [Fact]
    public void What_is_stored_in_the_freeze_and_the_commit_are_not_nice_but_what_is_stored_beside_the_running_target()
    {
        using var usual = Usual.Begin();
        using var target = TargetProcess.Start("pattern_writer", "8", $"{Seeds.Next()}");
        target.Expect("ready ");
        using var writer = new NiceWriter(target.Pid);
        // With room for an eighth of it, most has to be stored while it is frozen.
        CaptureSession.Run(new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Hash, BufferBytes = 1 << 20, Nice = Usual.Nice + Way, MaxFrozen = 2 * Patience.Limit }, writer, null, CancellationToken.None);
        Assert.Contains((true, Usual.Nice), writer.Stored);
        Assert.Contains((false, Usual.Nice + Way), writer.Stored);
        Assert.DoesNotContain((true, Usual.Nice + Way), writer.Stored);
        Assert.DoesNotContain((false, Usual.Nice), writer.Stored);
        Assert.Equal(Usual.Nice, writer.Committed);
        // One that was just being made when it was taken back may have the value until the next time.
        Assert.NotEmpty(writer.ThreadsGivingWay);
        Assert.All(writer.ThreadsGivingWay, tid => Assert.Contains(Niceness.Of(tid), new int?[] { null, Usual.Nice }));
    }

    [Fact]
    public void A_thread_that_is_made_meanwhile_has_the_usual_value_afterwards()
    {
        using var usual = Usual.Begin();
        using var freezing = new PtraceThread();
        using var way = new GivingWay(Usual.Nice + Way, null, mayStay: false, freezing);
        Assert.True(way.CanTakeBack);
        way.Give(last: false);
        int? before = null, after = null;
        using ManualResetEventSlim made = new(), over = new();
        var thread = new System.Threading.Thread(() =>
        {
            before = Niceness.Of(0);
            made.Set();
            over.Wait();
            after = Niceness.Of(0);
        });
        thread.Start();
        made.Wait(TestContext.Current.CancellationToken);
        way.TakeBack();
        over.Set();
        thread.Join();
        Assert.Equal((Usual.Nice + Way, Usual.Nice), (before, after));
    }

    [Fact]
    public void Who_is_as_nice_already_stays_as_he_is()
    {
        using var usual = Usual.Begin();
        using var freezing = new PtraceThread();
        using var way = new GivingWay(Usual.Nice, null, mayStay: true, freezing);
        way.Give(last: true);
        Assert.Equal(Usual.Nice, Niceness.Of(0));
    }

    /// <summary>The tests may run with any nice value, the largest too. What they share is the process: one at a time (a class's are).</summary>
    private sealed class Usual : IDisposable
    {
        /// <summary>For as long as this lives.</summary>
        public const int Nice = 0;

        private readonly int before = Niceness.Of(0) ?? Niceness.Most;

        public static Usual Begin()
        {
            var usual = new Usual();
            Niceness.SetAll(Nice);
            if (Niceness.Of(0) != Nice || !Niceness.MayBeLowered()) Requires.Missing("the right to lower a nice value (CAP_SYS_NICE)");
            return usual;
        }

        public void Dispose() => Niceness.SetAll(before);
    }

    /// <summary>Notes with which nice value it is called, and whether the target is frozen.</summary>
    private sealed class NiceWriter(int pid) : ICheckpointWriter
    {
        public ConcurrentDictionary<(bool Frozen, int? Nice), bool> Seen { get; } = [];

        public ICollection<(bool Frozen, int? Nice)> Stored => Seen.Keys;

        public int? Committed { get; private set; }

        /// <summary>Those of this process that were nice when it was first called beside the running target.</summary>
        public IReadOnlyList<int> ThreadsGivingWay { get; private set; } = [];

        public Crid Crid => new(2);

        public Guid StoreId { get; } = Guid.NewGuid();

        public PhaseClock Clock { get; } = new();

        public CheckpointManifest? Parent => null;

        public IReadOnlySet<TrackerKind> DistrustedTrackers { get; } = new HashSet<TrackerKind>();

        public PageCounters Counters { get; } = new();

        public void Note()
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var frozen = stat[stat.LastIndexOf(')') + 2] == 't';
            if (Seen.TryAdd((frozen, Niceness.Of(0)), true) && !frozen)
                ThreadsGivingWay = [.. TaskList.Threads(Environment.ProcessId).Where(tid => Niceness.Of(tid) == Usual.Nice + Way)];
        }

        public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace) => new Space(this);

        public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null)
        {
            Committed = Niceness.Of(0);
            return manifest.Header;
        }

        public void Dispose()
        {
        }

        private sealed class Space(NiceWriter writer) : ISpaceWriter
        {
            private readonly MemorySpace pages = new(null);

            public IReadOnlyList<PageSpan> ParentSpans => [];

            public void Keep(PageRange range) => pages.Keep(range);

            public void SetZero(PageRange range) => pages.SetZero(range);

            public void SetExcluded(PageRange range) => pages.SetExcluded(range);

            public void SetAbsent(PageRange range) => pages.SetAbsent(range);

            public void SetContent(VirtualPage first, ReadOnlyMemory<byte> content)
            {
                writer.Note();
                pages.SetContent(first, content);
            }

            public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => pages.MatchesParent(page, content);

            public void Clear() => pages.Clear();
        }
    }
}

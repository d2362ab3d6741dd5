using System.Globalization;
using Crstore.Capture.Tracking;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Memory;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Differential;

/// <summary>
/// Trackers against a full reading in the same freeze, page for page, over random workloads: every page that is kept from the
/// parent is hashed and must be what the parent has (<see cref="Witness"/>). A miss fails with the seed.
/// </summary>
[Trait("vm", "yes")]
public sealed class TrackerWorkloadTests
{
    // The virtual machine's processor is emulated: there it is slow work.
    private static readonly bool InVm = Environment.GetEnvironmentVariable("CRSTORE_IN_VM") is not null;
    private static readonly int Captures = InVm ? 4 : 12;
    private const int OperationsBetween = 25;

    public static TheoryData<TrackerKind> Trackers => [TrackerKind.Uffd, TrackerKind.SoftDirty, TrackerKind.Hash];

    [Theory, MemberData(nameof(Trackers))]
    public void No_kept_page_differs_over_random_operations_on_areas(TrackerKind tracker)
    {
        Require(tracker);
        var random = Seeds.Random();
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        var workload = new AreaWorkload(target, random);
        ulong kept = 0, dirty = 0;
        TestCapture? parent = null;
        for (var i = 0; i < Captures; i++)
        {
            for (var j = 0; j < OperationsBetween; j++) workload.Step();
            parent = Capture(target, parent, tracker, workload.History);
            kept += parent.Kept;
            dirty += parent.Dirty;
            workload.History.Add($"-- capture {parent.Crid}: kept {parent.Kept} dirty {parent.Dirty}");
        }

        AssertNotVacuous(tracker, kept, dirty);
    }

    [Theory, MemberData(nameof(Trackers))]
    public void No_kept_page_differs_over_a_churn_of_mappings(TrackerKind tracker)
    {
        Require(tracker);
        var seed = Seeds.Next();
        using var target = TargetProcess.Start("map_churner", seed.ToString(CultureInfo.InvariantCulture), "60");
        target.Expect("ready");
        target.Ask("churn 400");
        ulong kept = 0, dirty = 0;
        TestCapture? parent = null;
        for (var i = 0; i < 12; i++) // quick even in the virtual machine
        {
            parent = Capture(target, parent, tracker, []);
            kept += parent.Kept;
            dirty += parent.Dirty;
            Assert.StartsWith("churned", target.Ask("churn 60"));
        }

        AssertNotVacuous(tracker, kept, dirty);
    }

    [Theory, MemberData(nameof(Trackers))]
    public void No_kept_page_differs_while_threads_and_an_allocator_are_at_work(TrackerKind tracker)
    {
        Require(tracker);
        using var target = StartAllocator();
        ulong kept = 0, dirty = 0;
        TestCapture? parent = null;
        for (var i = 0; i < (InVm ? 4 : 6); i++)
        {
            parent = Capture(target, parent, tracker, []);
            kept += parent.Kept;
            dirty += parent.Dirty;
            Patience.UntilItHasRunFor(target.Pid, TimeSpan.FromSeconds(0.02));
        }

        AssertNotVacuous(tracker, kept, dirty);
    }

    [Fact]
    public void No_kept_page_differs_where_memory_is_written_everywhere_time_after_time_and_then_is_not()
    {
        Require(TrackerKind.Uffd);
        var random = Seeds.Random();
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        target.Ask("map z 1536"); // the workload doesn't know it, so that there is one that stays
        var workload = new AreaWorkload(target, random);
        for (var j = 0; j < OperationsBetween; j++) workload.Step();
        ulong kept = 0, dirty = 0, unprotected = 0;
        TestCapture? parent = null;
        for (var i = 0; i < 2 * Captures; i++)
        {
            if (i % 8 < 5)
            {
                target.Ask("fill z 0 1536");
                workload.WriteEverywhere();
            }

            for (var j = random.Next(6); j > 0; j--) workload.Step();
            parent = Capture(target, parent, TrackerKind.Uffd, workload.History);
            kept += parent.Kept;
            dirty += parent.Dirty;
            foreach (var hot in parent.Process.Vmas.SelectMany(v => v.Hot))
                if (!HotMemory.IsLook(hot.Captures)) unprotected += hot.SizeBytes >> VirtualPage.Shift;
            workload.History.Add($"-- capture {parent.Crid}: kept {parent.Kept} dirty {parent.Dirty}");
        }

        AssertNotVacuous(TrackerKind.Uffd, kept, dirty);
        Assert.True(unprotected > 0, "nothing was left unprotected");
    }

    [Fact]
    public void No_page_that_was_saved_while_areas_changed_differs()
    {
        Require(TrackerKind.Uffd);
        var random = Seeds.Random();
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        var workload = new AreaWorkload(target, random);
        ulong kept = 0, dirty = 0;
        for (var i = 0; i < Captures; i++)
        {
            for (var j = 0; j < OperationsBetween; j++) workload.Step();
            var capture = Capture(target, null, TrackerKind.Uffd, workload.History, () =>
            {
                workload.History.Add("-- in between");
                for (var j = 0; j < 4; j++) workload.Step();
            });
            kept += capture.Kept;
            dirty += capture.Dirty;
            workload.History.Add($"-- capture {capture.Crid}: kept {capture.Kept} dirty {capture.Dirty}");
        }

        AssertNotVacuous(TrackerKind.Uffd, kept, dirty);
    }

    [Fact]
    public void No_page_that_was_saved_while_threads_were_at_work_differs()
    {
        Require(TrackerKind.Uffd);
        using var target = StartAllocator();
        ulong kept = 0, dirty = 0;
        for (var i = 0; i < 6; i++)
        {
            var capture = Capture(target, null, TrackerKind.Uffd, [], () => Patience.UntilItHasRunFor(target.Pid, TimeSpan.FromSeconds(0.02)));
            kept += capture.Kept;
            dirty += capture.Dirty;
        }

        AssertNotVacuous(TrackerKind.Uffd, kept, dirty);
    }

    [Theory]
    [InlineData(64)]
    [InlineData(1)] // no room to hold anything: all of it goes to the store at once
    public void No_page_of_an_increment_in_rounds_differs_over_random_operations_on_areas(int bufferMib)
    {
        Require(TrackerKind.Uffd);
        var random = Seeds.Random();
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        var workload = new AreaWorkload(target, random);
        ulong kept = 0, dirty = 0;
        TestCapture? parent = null;
        for (var i = 0; i < Captures; i++)
        {
            for (var j = 0; j < OperationsBetween; j++) workload.Step();
            parent = Capture(target, parent, TrackerKind.Uffd, workload.History, () =>
            {
                workload.History.Add("-- in between");
                for (var j = 0; j < 4; j++) workload.Step();
            }, rounds: random.Next(4), bufferMib);
            kept += parent.Kept;
            dirty += parent.Dirty;
            workload.History.Add($"-- capture {parent.Crid}: kept {parent.Kept} dirty {parent.Dirty}");
        }

        AssertNotVacuous(TrackerKind.Uffd, kept, dirty);
    }

    [Fact]
    public void No_page_of_an_increment_in_rounds_differs_while_threads_were_at_work()
    {
        Require(TrackerKind.Uffd);
        using var target = StartAllocator();
        ulong kept = 0, dirty = 0;
        TestCapture? parent = null;
        for (var i = 0; i < 6; i++)
        {
            parent = Capture(target, parent, TrackerKind.Uffd, [], () => Patience.UntilItHasRunFor(target.Pid, TimeSpan.FromSeconds(0.02)), rounds: 1 + i % 3);
            kept += parent.Kept;
            dirty += parent.Dirty;
        }

        AssertNotVacuous(TrackerKind.Uffd, kept, dirty);
    }

    [Fact]
    public void No_page_of_an_increment_in_rounds_differs_over_a_churn_of_mappings()
    {
        Require(TrackerKind.Uffd);
        var seed = Seeds.Next();
        using var target = TargetProcess.Start("map_churner", seed.ToString(CultureInfo.InvariantCulture), "60");
        target.Expect("ready");
        target.Ask("churn 400");
        ulong kept = 0, dirty = 0;
        TestCapture? parent = null;
        for (var i = 0; i < 12; i++)
        {
            parent = Capture(target, parent, TrackerKind.Uffd, [], () => Assert.StartsWith("churned", target.Ask("churn 20")), rounds: i % 4);
            kept += parent.Kept;
            dirty += parent.Dirty;
        }

        AssertNotVacuous(TrackerKind.Uffd, kept, dirty);
    }

    // Threads that allocate, write and free without a pause.
    private static TargetProcess StartAllocator()
    {
        var seed = Seeds.Next();
        var target = TargetProcess.Python("""
            import random, sys, threading
            random.seed(int(sys.argv[1]))
            store, stop = {}, False
            def work(n):
                r = random.Random(n)
                while not stop:
                    k = r.randrange(200)
                    store[n, k] = bytes([r.randrange(256)]) * r.choice((50, 3000, 70000, 300000))
                    if r.random() < 0.3: store.pop((n, r.randrange(200)), None)
            ballast = [bytes([i % 256]) * 4096 for i in range(5000)]
            threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(3)]
            for t in threads: t.start()
            print("ready", flush=True)
            sys.stdin.readline()
            """, seed.ToString(CultureInfo.InvariantCulture));
        target.Expect("ready");
        return target;
    }

    private static void Require(TrackerKind tracker)
    {
        if (InVm && tracker == TrackerKind.Hash) Assert.Skip("hash needs no old kernel: it is tested outside the virtual machine");
        Memory.Trackers.Require(tracker);
    }

    private static TestCapture Capture(TargetProcess target, TestCapture? parent, TrackerKind tracker, List<string> history, Action? meanwhile = null, int rounds = 1, int bufferMib = 64)
    {
        try
        {
            var capture = TestCapture.Take(target, parent, tracker, o => o with { BufferBytes = bufferMib << 20 }, meanwhile: meanwhile, rounds: rounds);
            Assert.True(tracker == TrackerKind.Hash || parent is null || capture.Proof.Continuous, capture.Proof.Reason);
            Assert.Empty(capture.Lies);
            return capture;
        }
        catch (Exception)
        {
            foreach (var line in history) Seeds.Print(line);
            throw;
        }
    }

    private static void AssertNotVacuous(TrackerKind tracker, ulong kept, ulong dirty)
    {
        Assert.True(dirty > 100, $"only {dirty} pages were dirty");
        if (tracker == TrackerKind.Hash) Assert.Equal(0UL, kept);
        else Assert.True(kept > 20, $"only {kept} pages were kept"); // few under a churn: soft-dirty marks what mappings merge with, too
    }
}

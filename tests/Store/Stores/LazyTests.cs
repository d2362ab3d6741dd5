using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Pending;
using Google.Protobuf;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>Captures that are announced before they are committed, and those that are built on them meanwhile.</summary>
public sealed class LazyTests
{
    private static readonly SpaceId Space = new(0);

    [Fact]
    public void What_is_built_on_a_capture_before_its_commit_reads_as_it_should_and_is_its_increment()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var memory = Memory.Random(1, 100, zeroEvery: 9);
        using var first = store.BeginLazyCapture("s", full: false);
        var firstSpace = first.OpenSpace(Space, null);
        first.Announce(Memory.Manifest(), [Content(memory)]);
        Assert.Equal(CapturedState.Writing, store.StatusOf(first.Crid)!.State);

        var next = memory.Clone();
        next.Fill(2, 10, 5);
        next.Remove(50);
        using var second = store.BeginLazyCapture("s", full: false);
        Assert.True(second.ParentIsPending);
        Assert.Equal(first.Crid, second.Parent!.Crid);
        var secondSpace = second.OpenSpace(Space, Space);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => new PageSpan(new PageRange(Memory.Base + (ulong)i, 1), PageKind.Chunk)), secondSpace.ParentSpans);
        second.Announce(Memory.Manifest(), [Content(next)]);

        var last = next.Clone();
        last.Fill(3, 70, 3);
        using var third = store.BeginLazyCapture("s", full: false);
        Assert.Equal(second.Crid, third.Parent!.Crid);
        var thirdSpace = third.OpenSpace(Space, Space);
        third.Announce(Memory.Manifest(), [Content(last)]);
        Assert.Empty(Crids(store));

        memory.WriteTo(firstSpace);
        first.Commit(Memory.Manifest());
        first.Dispose();
        next.Keep(secondSpace, p => p is < 10 or > 14);
        next.WriteTo(secondSpace, [10, 11, 12, 13, 14]);
        second.Commit(Memory.Manifest());
        second.Dispose();
        last.Keep(thirdSpace, p => p is < 70 or > 72);
        last.WriteTo(thirdSpace, [70, 71, 72]);
        var header = third.Commit(Memory.Manifest());
        third.Dispose();

        Assert.Equal(second.Crid.Value, header.ParentCrid);
        Assert.Equal(3UL, header.Pages.Changed);
        Assert.Equal([first.Crid, second.Crid, third.Crid], Crids(store));
        using var reader = store.OpenReader();
        foreach (var (crid, want) in new[] { (first.Crid, memory), (second.Crid, next), (third.Crid, last) })
        {
            using var image = reader.OpenImage(crid);
            want.AssertEquals(image);
            Assert.Equal(CapturedState.Committed, store.StatusOf(crid)!.State);
        }

        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "pending")));
        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "sessions")));
    }

    [Fact]
    public void If_one_fails_all_that_are_built_on_it_are_void_and_the_next_one_is_not()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 20);
        var committed = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        using var first = store.BeginLazyCapture("s", full: false);
        first.Announce(Memory.Manifest(), [Content(memory)]);
        using var second = store.BeginLazyCapture("s", full: false);
        var space = second.OpenSpace(Space, Space);
        second.Announce(Memory.Manifest(), [Content(memory)]);
        first.Fail(ExitCode.Environment, "the disk\nis full", "buy another one");
        first.Dispose();
        var error = Assert.Throws<VoidCaptureException>(() => memory.Keep(space, _ => true));
        Assert.Contains($"CRID {second.Crid} is void: CRID {first.Crid}", error.Message);
        second.Fail(error.ExitCode, error.Message, error.Hint);
        second.Dispose();

        Assert.Equal(new CapturedStatus(CapturedState.Failed, Environment.ProcessId, ExitCode.Environment, "the disk is full", "buy another one"), store.StatusOf(first.Crid));
        Assert.Equal(error.Message, store.StatusOf(second.Crid)!.Reason);
        using var third = store.BeginLazyCapture("s", full: false);
        Assert.Equal(committed, third.Parent!.Crid);
        Assert.False(third.ParentIsPending);
        Assert.Equal([committed], Crids(store));
    }

    [Fact]
    public void One_whose_process_was_killed_has_died_and_is_nobodys_parent()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var dead = new Crid(7);
        Directory.CreateDirectory(Path.Combine(temp.Directory, "pending"));
        new CapturedStatus(CapturedState.Writing, 4711).Write(new Crstore.Store.Layout.StorePaths(temp.Directory), dead);
        PendingFiles.WriteFrozen(new Crstore.Store.Layout.StorePaths(temp.Directory), new PendingCheckpoint { Header = new CheckpointHeader { Crid = 7, Series = "s" }, Body = new CheckpointBody() });
        Assert.Equal(CapturedState.Died, store.StatusOf(dead)!.State);
        using (var next = store.BeginLazyCapture("s", full: false)) Assert.Null(next.Parent);
        Assert.False(File.Exists(Path.Combine(temp.Directory, "pending", "7.frozen")));
        Assert.Null(store.StatusOf(new Crid(8)));

        // gc forgets such news after a week.
        store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, default);
        Assert.NotNull(store.StatusOf(dead));
        File.SetLastWriteTimeUtc(Path.Combine(temp.Directory, "pending", "7"), DateTime.UtcNow - TimeSpan.FromDays(8));
        store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, default);
        Assert.Null(store.StatusOf(dead));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_parent_that_was_committed_otherwise_than_announced_makes_it_void(bool capturedAnew)
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var memory = Memory.Random(1, 20);
        using var first = store.BeginLazyCapture("s", full: false);
        var firstSpace = first.OpenSpace(Space, null);
        first.Announce(WithProof(1), [Content(memory)]);
        using var second = store.BeginLazyCapture("s", full: false);
        var space = second.OpenSpace(Space, Space);
        if (!capturedAnew) memory.Remove(5);
        memory.WriteTo(firstSpace);
        first.Commit(WithProof((byte)(capturedAnew ? 2 : 1)));
        first.Dispose();
        var error = Assert.Throws<VoidCaptureException>(() => space.Keep(new PageRange(Memory.Base, 1)));
        Assert.Contains(capturedAnew ? "captured anew" : "did not get all the pages", error.Message);
    }

    [Fact]
    public void An_ordinary_capture_of_the_series_waits_for_it_and_one_of_another_series_does_not()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        temp.Options = temp.Options with { LockTimeout = TimeSpan.Zero };
        using var impatient = temp.Open();
        using var lazy = store.BeginLazyCapture("s", full: false);
        lazy.OpenSpace(Space, null).SetZero(new PageRange(Memory.Base, 1));
        lazy.Announce(Memory.Manifest(), []);
        var busy = Assert.Throws<StoreBusyException>(() => impatient.BeginCapture("s", full: false));
        Assert.Contains($"capture --lazy of CRID {lazy.Crid}", busy.Message);
        impatient.BeginCapture("other", full: false).Dispose();
        lazy.Commit(Memory.Manifest());
        lazy.Dispose();
        using var next = impatient.BeginCapture("s", full: false);
        Assert.Equal(lazy.Crid, next.Parent!.Crid);
    }

    [Fact]
    public void A_base_that_overtakes_one_in_flight_stays_the_head_of_the_series()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        using var slow = store.BeginLazyCapture("s", full: false);
        slow.OpenSpace(Space, null).SetZero(new PageRange(Memory.Base, 1));
        slow.Announce(Memory.Manifest(), []);
        using (var full = store.BeginLazyCapture("s", full: true))
        {
            Assert.Null(full.Parent);
            full.OpenSpace(Space, null).SetZero(new PageRange(Memory.Base, 2));
            full.Commit(Memory.Manifest());
            slow.Commit(Memory.Manifest());
            slow.Dispose();
            full.Dispose();
            using var next = store.BeginLazyCapture("s", full: false);
            Assert.Equal(full.Crid, next.Parent!.Crid);
        }
    }

    [Fact]
    public void No_more_than_a_few_are_in_flight_at_once()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { LockTimeout = TimeSpan.Zero };
        using var store = temp.Open();
        var flying = new List<LazyCapture>();
        for (var i = 0; i < LazyCapture.MostInFlight; i++)
        {
            flying.Add(store.BeginLazyCapture("s", full: false));
            flying[^1].Announce(Memory.Manifest(), []);
        }

        Assert.Throws<StoreBusyException>(() => store.BeginLazyCapture("s", full: false));
        flying[0].Commit(Memory.Manifest());
        foreach (var one in flying) one.Dispose();
        store.BeginLazyCapture("s", full: false).Dispose();
    }

    [Fact]
    public void Nobody_else_may_read_what_is_announced()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        using var lazy = store.BeginLazyCapture("s", full: false);
        lazy.Announce(Memory.Manifest(), []);
        const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        foreach (var file in Directory.GetFiles(Path.Combine(temp.Directory, "pending"))) Assert.Equal(owner, File.GetUnixFileMode(file));
        Assert.Equal(owner | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(temp.Directory, "pending")));
    }

    private static CheckpointManifest WithProof(byte token)
    {
        var manifest = Memory.Manifest();
        manifest.Body.Proofs.Add(new TrackerProof { Pid = 42, GenerationToken = ByteString.CopyFrom(token) });
        return manifest;
    }

    private static SpaceContent Content(Memory memory) => new(Space, [.. memory.Pages.Keys.Select(page => new PageRange(Memory.Base + page, 1))]);

    private static List<Crid> Crids(CheckpointStore store)
    {
        using var reader = store.OpenReader();
        return [.. reader.Headers().Select(h => new Crid(h.Crid))];
    }
}

using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

public sealed class ForgetTests
{
    [Fact]
    public void Any_checkpoint_of_a_chain_can_go_in_any_order_and_the_others_restore_exactly()
    {
        var seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var temp = new TempStore();
        var chain = Chain.Make(temp, random, 12);
        while (chain.Count > 0)
        {
            var victim = chain.Keys.ElementAt(random.Next(chain.Count));
            chain.Remove(victim);
            using var store = temp.Open();
            Assert.Equal([victim], store.Forget([victim], dryRun: false).Forgotten);
            if (random.Next(2) == 0) Assert.Empty(store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, default).HeldBy);
            Chain.AssertAll(store, chain);
        }

        Assert.Empty(StoreSurgery.AllKeys(temp, ColumnFamily.Manifests));
        Assert.Empty(StoreSurgery.AllKeys(temp, ColumnFamily.Bodies));
    }

    [Fact]
    public void An_unknown_CRID_is_named_and_nothing_is_forgotten()
    {
        using var temp = new TempStore();
        var header = temp.Capture(Memory.Random(1, 10));
        using var store = temp.Open();
        foreach (var dryRun in new[] { true, false })
        {
            var error = Assert.Throws<UsageException>(() => store.Forget([new Crid(header.Crid), new Crid(998), new Crid(999)], dryRun));
            Assert.Contains("998, 999", error.Message);
        }

        using var reader = store.OpenReader();
        Assert.Single(reader.Headers());
    }

    [Fact]
    public void A_dry_run_says_what_would_go_and_leaves_it()
    {
        using var temp = new TempStore();
        var header = temp.Capture(Memory.Random(1, 10));
        using var store = temp.Open();
        var result = store.Forget([new Crid(header.Crid)], dryRun: true);
        Assert.True(result.DryRun);
        Assert.Equal([new Crid(header.Crid)], result.Forgotten);
        using var reader = store.OpenReader();
        Assert.Single(reader.Headers());
    }

    [Fact]
    public void The_series_goes_on_from_the_latest_checkpoint_that_is_left()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 50);
        var a = temp.Capture(memory);
        var other = temp.Capture(memory, "other");
        var b = temp.Capture(memory);
        var c = temp.Capture(memory);
        using (var store = temp.Open()) store.Forget([new Crid(c.Crid), new Crid(b.Crid)], dryRun: false);
        var d = temp.Capture(memory);
        Assert.Equal(a.Crid, d.ParentCrid);
        using (var store = temp.Open()) store.Forget([new Crid(a.Crid), new Crid(d.Crid)], dryRun: false);
        var e = temp.Capture(memory);
        Assert.Equal(CheckpointKind.Base, e.Kind);
        Assert.Equal(other.Crid, temp.Capture(memory, "other").ParentCrid);
    }

    [Fact]
    public void Many_forgets_leave_few_logs_to_replay()
    {
        using var temp = new TempStore();
        var crids = Enumerable.Range(0, 40).Select(i => new Crid(temp.Capture(Memory.Random(i, 1)).Crid)).ToList();
        using var store = temp.Open();
        foreach (var crid in crids) store.Forget([crid], dryRun: false);
        Assert.InRange(Directory.GetFiles(Path.Combine(temp.Directory, "db"), "*.log").Length, 1, 20);
        using var reader = store.OpenReader();
        Assert.Empty(reader.Headers());
    }

    [Fact]
    public void A_capture_whose_parent_is_forgotten_and_collected_meanwhile_commits_and_restores()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 400);
        var a = temp.Capture(memory);
        using var store = temp.Open();
        var changed = memory.Clone();
        changed.Fill(9, 100, 5);
        using (var writer = store.BeginCapture("s", full: false))
        {
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            store.Forget([new Crid(a.Crid)], dryRun: false);
            var held = store.CollectGarbage(new GcOptions(false, TimeSpan.FromMilliseconds(200)), null, default);
            Assert.Contains($"CRID {writer.Crid} ", Assert.Single(held.HeldBy));
            Assert.Equal(0UL, held.ChunksFreed);
            memory.Keep(space, p => p is < 100 or >= 105);
            changed.WriteTo(space, [100, 101, 102, 103, 104]);
            writer.Commit(Memory.Manifest());
        }

        using var reader = store.OpenReader();
        using (var image = reader.OpenImage(reader.Resolve("s"))) changed.AssertEquals(image);
        var freed = store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, default);
        using var after = store.OpenReader();
        using (var image = after.OpenImage(after.Resolve("s"))) changed.AssertEquals(image);
        Assert.Equal(0UL, freed.ChunksFreed); // 5 dead pages in two frames of 16: not worth copying the others
        Assert.Empty(after.Verify([], new VerifyOptions(100), null, default).StoreProblems);

        // The index entries that the held gc dropped are back: the same content is found, not stored again.
        Assert.Equal(0UL, temp.Capture(changed, "again").Pages.Fresh);
    }
}

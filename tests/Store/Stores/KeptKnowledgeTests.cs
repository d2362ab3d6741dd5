using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;
using Xunit;
using static Crstore.Tests.Store.Stores.Captures;

namespace Crstore.Tests.Store.Stores;

/// <summary>What captures have learned of a store counts only as long as it is proven to hold.</summary>
public sealed class KeptKnowledgeTests
{
    [Fact]
    public void An_anchor_that_is_remembered_counts_only_as_long_as_the_store_has_it()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 3);
        var crid = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        var locations = Enumerable.Range(0, 3).Select(i => reader.Segments.Open(crid, new SpaceId(0))!.Find(Memory.Base + (ulong)i).First).ToList();
        var anchors = new AnchorPages();
        for (var i = 0; i < 3; i++) anchors.Add(locations[i], PageHash.Of(memory.Pages[(ulong)i]), memory.Pages[(ulong)i]);
        var page = new byte[VirtualPage.Size];
        for (var i = 0; i < 6; i++)
        {
            if (i == 3) anchors.Doubt(); // it is there all the same
            Assert.True(anchors.TryRead(reader.Database, locations[i % 3], page));
            Assert.Equal(memory.Pages[(ulong)i % 3], page);
        }

        using var other = new TempStore(); // it has the second page alone, at the place of the first
        var second = new Memory();
        second.Set(0, memory.Pages[1]);
        other.Capture(second);
        using var otherStore = other.Open();
        using var otherReader = otherStore.OpenReader();
        anchors.Doubt();
        Assert.All(locations, location => Assert.False(anchors.TryRead(otherReader.Database, location, page)));

        anchors.Add(locations[0], PageHash.Of(memory.Pages[1]), memory.Pages[1]); // as it was read there
        Assert.True(anchors.TryRead(otherReader.Database, locations[0], page));
        Assert.Equal(memory.Pages[1], page);
    }

    [Fact]
    public void A_neighbour_of_an_anchor_is_checked_before_it_counts()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        using var reader = store.OpenReader();
        var memory = Memory.Random(1, 2);
        var id = new FrameId(new Crid(7), 3);
        var hash = PageHash.Of(memory.Pages[0]);
        var frame = FrameReader.Parse(id, FrameEncoder.Encode(id, [hash, hash], [.. memory.Pages[0], .. memory.Pages[1]], Compression.Default)); // the second is not what it says
        var anchors = new AnchorPages();
        anchors.AddNeighbours(frame);
        var page = new byte[VirtualPage.Size];
        for (var i = 0; i < 2; i++)
        {
            Assert.True(anchors.TryRead(reader.Database, id.Location(0), page));
            Assert.Equal(memory.Pages[0], page);
            Assert.False(anchors.TryRead(reader.Database, id.Location(1), page));
        }

        Assert.False(anchors.TryRead(reader.Database, id.Location(2), page));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Neighbours_of_an_anchor_are_remembered_unless_captures_are_rare(bool rare)
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = store.Keep()!;
        keeper.CapturesAreRare = rare;
        var memory = Memory.Random(1, 32);
        var first = Capture(store, memory);
        memory = memory.Clone();
        memory.Touch(5, new Random(2)); // a patch
        Capture(store, memory);
        using var reader = store.OpenReader();
        var map = reader.Segments.Open(first, new SpaceId(0))!;
        var page = new byte[VirtualPage.Size];
        Assert.True(keeper.Known.Anchors.TryRead(reader.Database, map.Find(Memory.Base + 5).First, page));
        Assert.Equal(!rare, keeper.Known.Anchors.TryRead(reader.Database, map.Find(Memory.Base + 6).First, page));
    }

    [Fact]
    public void What_was_learned_of_a_store_does_not_count_where_an_older_copy_of_it_took_its_place()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = store.Keep()!;
        var memory = Memory.Random(1, 600);
        var random = new Random(2);
        var all = new List<(Crid Crid, Memory Memory)> { (Capture(store, memory), memory) };
        keeper.GiveAway();
        var backup = temp.Directory + ".backup";
        Support.Run.Command("cp", ["-a", temp.Directory, backup]).MustSucceed();

        // Two checkpoints that nobody will know of, but this process.
        for (var i = 0; i < 2; i++) Capture(store, memory = Changed(memory, random));
        Assert.True(keeper.Known.Segments.Count > 0);
        keeper.GiveAway();
        Directory.Delete(temp.Directory, recursive: true);
        Directory.Move(backup, temp.Directory);

        // Somebody else makes others with the same CRIDs, which have other content at the same places.
        var others = all[0].Memory;
        for (var i = 0; i < 2; i++)
        {
            others = Changed(others, random);
            all.Add((new Crid(temp.Capture(others).Crid), others));
        }

        for (var i = 0; i < 3; i++)
        {
            // Little changes, the rest is kept as it is in the others'.
            using var writer = store.BeginCapture("s", false);
            var next = others.Clone();
            next.Touch((ulong)i, random);
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            space.Keep(new PageRange(Memory.Base, 600));
            space.SetContent(Memory.Base + (ulong)i, next.Pages[(ulong)i]);
            all.Add((new Crid(writer.Commit(Memory.Manifest()).Crid), others = next));
        }

        keeper.GiveAway();
        VerifyAll(store, all);

        static Memory Changed(Memory memory, Random random)
        {
            var next = memory.Clone();
            for (var n = 0; n < 60; n++) next.Touch((ulong)random.Next(600), random);
            return next;
        }
    }

    [Fact]
    public void What_was_learned_of_a_store_holds_behind_others_commits_and_not_behind_a_gc()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = store.Keep()!;
        var memory = Memory.Random(1, 600);
        var random = new Random(3);
        var known = new KeptKnowledge(TimeSpan.FromDays(1)); // however slow this machine is
        var crid = Capture(store, memory);
        Learn();
        Assert.True(Knows());
        temp.Capture(Memory.Random(4, 30), "other");
        Assert.True(Knows());
        Assert.True(Knows());

        using (var reader = Reader()) known.Begin(reader.Database); // one that fails
        Assert.False(Knows());
        Learn();
        memory = memory.Clone();
        memory.Touch(1, random);
        Capture(store, memory);
        keeper.GiveAway();
        store.Forget([crid], dryRun: false); // the one that it goes by
        Assert.False(Knows());
        crid = Capture(store, memory);
        Learn();
        Assert.True(Knows());
        keeper.GiveAway();
        store.CollectGarbage(new GcOptions(false, TimeSpan.FromSeconds(30)), null, default);
        Assert.False(Knows());

        known = new KeptKnowledge(TimeSpan.Zero); // it is too old at once: what is stored is to be looked at again
        Learn();
        Assert.False(Knows());

        StoreReader Reader() => store.OpenReader();

        void Learn()
        {
            using var reader = Reader();
            known.Begin(reader.Database);
            known.Segments.Add(new SegmentKey(crid, default, 1), new Segment(1, []));
            Commit(reader);
        }

        bool Knows()
        {
            using var reader = Reader();
            known.Begin(reader.Database);
            if (known.Segments.Count == 0) return false;
            Commit(reader);
            return true;
        }

        void Commit(StoreReader reader) => known.Committed(store.Id, crid, reader.Database.Get(ColumnFamily.Manifests, Keys.Crid(crid))!);
    }
}

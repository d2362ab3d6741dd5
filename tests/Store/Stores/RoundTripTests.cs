using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Tests.Store.Maintenance;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class RoundTripTests
{
    [Theory]
    [InlineData(100, 1)]
    [InlineData(100, null)]
    [InlineData(12_000, 1)] // large enough for SST files and index ingestion
    public void A_captured_memory_reads_back_exactly(int pages, int? level)
    {
        using var temp = new TempStore(new Compression(level));
        var memory = Memory.Random(1, pages, zeroEvery: 7);
        var header = temp.Capture(memory);

        Assert.Equal(CheckpointKind.Base, header.Kind);
        Assert.Equal((ulong)memory.Count, header.Pages.Logical);
        Assert.Equal((ulong)memory.Count, header.Pages.Changed);
        Assert.Equal((ulong)((pages + 6) / 7), header.Pages.Zero);
        Assert.Equal(header.Pages.Logical - header.Pages.Zero, header.Pages.Fresh);
        Assert.True(header.BytesStored > header.Pages.Fresh * 1000, "the random quarter can't be compressed away");
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Equal(header, Assert.Single(reader.Headers()));
        using var image = reader.OpenImage(new Crid(header.Crid));
        memory.AssertEquals(image);
    }

    [Fact]
    public void A_read_unpacks_each_frame_once_however_scattered_its_pages_are()
    {
        const int Pages = 400 * ChunkLocation.SlotsPerFrame; // more frames than the cache holds
        using var temp = new TempStore();
        var memory = Memory.Random(1, Pages);
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", full: true);
        var space = writer.OpenSpace(new SpaceId(0), null);
        for (ulong i = 0; i < Pages; i++) // neighbours in a frame lie 509 pages apart
        {
            var page = i * 509 % Pages;
            space.SetContent(Memory.Base + page, memory.Pages[page]);
        }

        var crid = new Crid(writer.Commit(Memory.Manifest()).Crid);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
        Assert.Equal(2 * Pages / ChunkLocation.SlotsPerFrame, ((CheckpointImage)image).FramesFetched); // for it reads twice
    }

    [Fact]
    public void Many_targets_are_read_at_once_and_the_first_damaged_page_is_named()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(7, 640, zeroEvery: 100);
        var crid = new Crid(temp.Capture(memory).Crid);
        PageTarget[] targets = [.. new (ulong First, ulong Count)[] { (600, 60), (0, 1), (17, 300), (317, 3) }
            .Select(t => new PageTarget(new PageRange(Memory.Base + t.First, t.Count), Enumerable.Repeat((byte)0xee, (int)t.Count * VirtualPage.Size).ToArray()))];
        Read(temp, crid, targets);
        foreach (var (range, read, _) in targets)
            for (ulong i = 0; i < range.Count; i++)
            {
                var want = memory.Pages.TryGetValue(range.Start.Number - Memory.Base.Number + i, out var page) ? page : new byte[VirtualPage.Size];
                Assert.True(read.Span.Slice((int)i * VirtualPage.Size, VirtualPage.Size).SequenceEqual(want), $"page {range.Start + i}");
            }

        // Chunks are in the order of their pages, without every hundredth, which is zero: chunk 35 is page 36 and chunk 203 is page 206.
        StoreSurgery.SpoilPage(temp, new ChunkLocation(crid, 203));
        StoreSurgery.SpoilPage(temp, new ChunkLocation(crid, 35));
        for (var round = 0; round < 20; round++)
            Assert.Contains($"page {Memory.Base + 36}", Assert.Throws<StoreDamagedException>(() => Read(temp, crid, targets)).Message, StringComparison.Ordinal);
        Assert.Contains($"page {Memory.Base + 206}", Assert.Throws<StoreDamagedException>(() =>
            Read(temp, crid, new PageTarget(new PageRange(Memory.Base + 37, 500), new byte[500 * VirtualPage.Size]))).Message, StringComparison.Ordinal);
    }

    /// <summary>The store puts runs together until there are 2048 pages, and takes long ones apart.</summary>
    [Fact]
    public void Runs_of_any_length_from_several_spaces_come_to_their_own_places()
    {
        var random = Seeds.Random();
        using var temp = new TempStore();
        Memory[] memories = [Memory.Random(random.Next(), 6000, zeroEvery: 700), Memory.Random(random.Next(), 3000)];
        int[] lengths = [1, 63, 64, 512, 513, 2047, 2048, 2049], done = [0, 0];
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", full: true);
        var spaces = memories.Select((_, i) => writer.OpenSpace(new SpaceId((uint)i), null)).ToArray();
        while (done[0] < 6000 || done[1] < 3000)
        {
            var i = done[1] == 3000 || done[0] < 6000 && random.Next(2) == 0 ? 0 : 1;
            var count = Math.Min(lengths[random.Next(lengths.Length)], memories[i].Count - done[i]);
            var content = new byte[count * VirtualPage.Size];
            for (var n = 0; n < count; n++) memories[i].Pages[(ulong)(done[i] + n)].CopyTo(content, n * VirtualPage.Size);
            spaces[i].SetContent(Memory.Base + (ulong)done[i], content);
            content.AsSpan().Fill(0xcc); // it is the caller's again
            done[i] += count;
        }

        var crid = new Crid(writer.Commit(Memory.Manifest(2)).Crid);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memories[0].AssertEquals(image);
        memories[1].AssertEquals(image, new SpaceId(1));
    }

    [Fact]
    public void An_increment_stores_what_changed_and_reads_as_a_whole()
    {
        using var temp = new TempStore();
        var first = Memory.Random(2, 3000);
        var a = temp.Capture(first);

        var second = first.Clone();
        second.Fill(3, 100, 10);
        second.Remove(5);
        second.Set(4000, new byte[VirtualPage.Size]);
        CheckpointHeader b;
        using (var store = temp.Open())
        using (var writer = store.BeginCapture("s", full: false))
        {
            Assert.Equal(a.Crid, writer.Parent!.Header.Crid);
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            Assert.Equal([new PageSpan(new PageRange(Memory.Base, 3000), PageKind.Chunk)], space.ParentSpans);
            Assert.True(space.MatchesParent(Memory.Base + 7, first.Pages[7]));
            Assert.False(space.MatchesParent(Memory.Base + 7, first.Pages[8]));
            Assert.False(space.MatchesParent(Memory.Base + 3500, first.Pages[8]));
            Assert.Throws<ArgumentException>(() => space.Keep(new PageRange(Memory.Base + 2999, 2)));
            first.Keep(space, p => p is not 5 and (< 100 or >= 110));
            second.WriteTo(space, Enumerable.Range(100, 10).Select(i => (ulong)i));
            space.SetZero(new PageRange(Memory.Base + 4000, 1));
            b = writer.Commit(Memory.Manifest());
        }

        Assert.Equal(CheckpointKind.Increment, b.Kind);
        Assert.Equal(10UL, b.Pages.Fresh);
        Assert.Equal(10UL, b.Pages.Dirty);
        Assert.Equal(3000UL, b.Pages.Logical);
        Assert.True(b.BytesStored < a.BytesStored / 50, $"{b.BytesStored} against {a.BytesStored}");
        using var again = temp.Open();
        using var reader = again.OpenReader();
        using (var image = reader.OpenImage(new Crid(a.Crid))) first.AssertEquals(image);
        using (var image = reader.OpenImage(new Crid(b.Crid))) second.AssertEquals(image);
    }

    [Fact]
    public void Equal_pages_are_stored_once_within_and_across_series()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(4, 500);
        memory.Fill(4, 1000, 500); // the same again elsewhere
        var a = temp.Capture(memory, "one");
        Assert.Equal(500UL, a.Pages.Fresh);
        var moved = new Memory();
        moved.Fill(4, 7000, 500);
        var b = temp.Capture(moved, "two");
        Assert.Equal(CheckpointKind.Base, b.Kind);
        Assert.Equal(0UL, b.Pages.Fresh);
        Assert.Equal(500UL, b.Pages.Logical);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(b.Crid));
        moved.AssertEquals(image);
    }

    [Fact]
    public void Rewriting_the_same_content_by_hash_changes_nothing_and_stores_no_segment()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(5, 6000);
        var a = temp.Capture(memory);
        var b = temp.Capture(memory);
        Assert.Equal(0UL, b.Pages.Changed);
        Assert.Equal(0UL, b.Pages.Fresh);
        Assert.Equal(6000UL, b.Pages.Dirty);
        Assert.True(b.BytesStored < 2000, $"{b.BytesStored} bytes for an increment without changes");
        Assert.Equal(a.Crid, b.ParentCrid);
    }

    [Fact]
    public void Full_makes_a_base_in_the_same_series()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(6, 10));
        var b = temp.Capture(Memory.Random(6, 10), full: true);
        Assert.Equal(CheckpointKind.Base, b.Kind);
        Assert.Equal(0UL, b.ParentCrid);
        var c = temp.Capture(Memory.Random(6, 11));
        Assert.Equal(b.Crid, c.ParentCrid);
    }

    [Fact]
    public void An_attempt_without_commit_leaves_nothing_but_a_gap_in_the_crids()
    {
        using var temp = new TempStore();
        var a = temp.Capture(Memory.Random(7, 10));
        ulong lost;
        using (var store = temp.Open())
        using (var writer = store.BeginCapture("s", full: false))
        {
            Memory.Random(8, 9000).WriteTo(writer.OpenSpace(new SpaceId(0), null));
            lost = writer.Crid.Value;
        }

        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "incoming")));
        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "sessions")));
        var b = temp.Capture(Memory.Random(7, 10));
        Assert.True(a.Crid < lost && lost < b.Crid);
        using var again = temp.Open();
        using var reader = again.OpenReader();
        Assert.Equal([a.Crid, b.Crid], reader.Headers().Select(h => h.Crid));
    }

    [Fact]
    public void A_distrusted_tracker_is_remembered_by_its_series_alone()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        using (var writer = store.BeginCapture("s", false))
        {
            Assert.Empty(writer.DistrustedTrackers);
            writer.OpenSpace(new SpaceId(0), null);
            writer.Commit(Memory.Manifest(), TrackerKind.SoftDirty);
        }

        using (var writer = store.BeginCapture("s", false)) Assert.Equal([TrackerKind.SoftDirty], writer.DistrustedTrackers);
        using (var writer = store.BeginCapture("t", false)) Assert.Empty(writer.DistrustedTrackers);
        using var reader = store.OpenReader();
        Assert.Equal([TrackerKind.SoftDirty], Assert.Single(reader.Series()).Distrusted);
    }

    [Fact]
    public void Names_numbers_and_times_resolve()
    {
        using var temp = new TempStore();
        var a = temp.Capture(Memory.Random(9, 5), "web@host");
        var b = temp.Capture(Memory.Random(10, 5), "web@host");
        var c = temp.Capture(Memory.Random(11, 5), "db");
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Equal(a.Crid, reader.Resolve($"{a.Crid}").Value);
        Assert.Equal(b.Crid, reader.Resolve("web@host").Value);
        Assert.Equal(a.Crid, reader.Resolve("web@host@1").Value);
        Assert.Equal(b.Crid, reader.Resolve("web@host@latest").Value);
        Assert.Equal(c.Crid, reader.Resolve("db").Value);
        var between = DateTimeOffset.UnixEpoch.AddTicks((a.CapturedUnixNs + b.CapturedUnixNs) / 200);
        Assert.Equal(a.Crid, reader.Resolve($"web@host@{between:O}").Value);
        foreach (var wrong in new[] { "99", "web", "db@2", "db@0", "db@never", "db@2001-01-01" })
            Assert.Throws<UsageException>(() => reader.Resolve(wrong));
    }

    [Fact]
    public void A_time_as_list_shows_it_finds_the_checkpoint_that_list_shows_with_it()
    {
        using var temp = new TempStore();
        var first = CaptureAt(new DateTimeOffset(2026, 3, 1, 12, 0, 5, 900, TimeSpan.Zero));
        var second = CaptureAt(new DateTimeOffset(2026, 3, 1, 12, 0, 6, 100, TimeSpan.Zero));
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Equal(first, reader.Resolve("s@2026-03-01T12:00:05Z").Value);
        Assert.Equal(second, reader.Resolve("s@2026-03-01T12:00:06Z").Value);
        Assert.Equal(second, reader.Resolve("s@2026-03-01T12:01Z").Value);
        Assert.Equal(first, reader.Resolve("s@2026-03-01T12:00:06.05Z").Value);
        var error = Assert.Throws<UsageException>(() => reader.Resolve("s@2026-03-01T12:00:04Z"));
        var shown = new DateTimeOffset(2026, 3, 1, 12, 0, 5, TimeSpan.Zero).ToLocalTime();
        Assert.EndsWith($"the first one is of {shown:yyyy-MM-dd HH:mm:ss}", error.Message, StringComparison.Ordinal);

        ulong CaptureAt(DateTimeOffset time)
        {
            using var store = temp.Open();
            using var writer = store.BeginCapture("s", full: true);
            var manifest = Memory.Manifest(0);
            manifest.Header.CapturedUnixNs = (time - DateTimeOffset.UnixEpoch).Ticks * 100;
            return writer.Commit(manifest).Crid;
        }
    }

    [Fact]
    public void Several_spaces_share_chunks_and_keep_apart()
    {
        using var temp = new TempStore();
        var x = Memory.Random(12, 300);
        var y = Memory.Random(12, 310);
        using var store = temp.Open();
        CheckpointHeader header;
        using (var writer = store.BeginCapture("tree", false))
        {
            x.WriteTo(writer.OpenSpace(new SpaceId(0), null));
            y.WriteTo(writer.OpenSpace(new SpaceId(1), null));
            Assert.Throws<ArgumentException>(() => writer.OpenSpace(new SpaceId(1), null));
            header = writer.Commit(Memory.Manifest(2));
            Assert.Throws<InvalidOperationException>(() => writer.Commit(Memory.Manifest(2)));
        }

        Assert.Equal(310UL, header.Pages.Fresh);
        Assert.Equal(610UL, header.Pages.Logical);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(header.Crid));
        x.AssertEquals(image, new SpaceId(0));
        y.AssertEquals(image, new SpaceId(1));
    }

    private static void Read(TempStore temp, Crid crid, params PageTarget[] targets)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        image.Read(default, targets);
    }
}

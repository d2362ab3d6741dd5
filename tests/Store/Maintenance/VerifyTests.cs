using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

public sealed class VerifyTests
{
    private const string VmaName = "0x7f0000000000-0x7f0100000000";

    [Fact]
    public void A_whole_store_is_whole_and_every_frame_is_read_once()
    {
        using var temp = new TempStore();
        var chain = Chain.Make(temp, new Random(1), 8);
        var all = Verify(temp, [], 100);
        Assert.Equal(chain.Keys, all.Whole);
        Assert.Empty(all.Broken);
        Assert.Empty(all.Problems);
        Assert.Empty(all.StoreProblems);
        Assert.Equal((ulong)StoreSurgery.AllKeys(temp, ColumnFamily.Chunks).Count, all.FramesRead);
        Assert.Equal((ulong)StoreSurgery.AllKeys(temp, ColumnFamily.Index).Count, all.PagesRead);
        var none = Verify(temp, [], 0);
        Assert.Equal((0UL, 0UL), (none.FramesRead, none.PagesRead));
        Assert.InRange(Verify(temp, [], 40).FramesRead, 1UL, all.FramesRead - 1);
        Assert.Equal([chain.Keys.Last()], Verify(temp, [chain.Keys.Last()], 100).Whole);
        Assert.Contains("12345", Assert.Throws<UsageException>(() => Verify(temp, [new Crid(12345)], 0)).Message);
    }

    [Fact]
    public void A_page_that_is_not_what_its_address_says_is_named_in_every_checkpoint_that_has_it_and_no_other()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 200);
        var a = temp.Capture(memory);
        var without = memory.Clone();
        without.Remove(77);
        var b = Chain.Increment(temp, memory, without);
        var c = Chain.Increment(temp, without, without);
        var other = temp.Capture(memory, "other");
        StoreSurgery.SpoilPage(temp, new ChunkLocation(new Crid(a.Crid), 77));
        Assert.Empty(Verify(temp, [], 0).Problems); // only a look at the content can tell
        var result = Verify(temp, [], 100);
        Assert.Equal([new Crid(b), new Crid(c)], result.Whole);
        Assert.Equal([new Crid(a.Crid), new Crid(other.Crid)], result.Broken);
        Assert.All(result.Problems, p =>
        {
            Assert.Equal(42, p.Pid);
            Assert.Equal(VmaName, p.Vma);
            Assert.Equal((Memory.Base + 77).Address, p.PageAddress);
            Assert.Contains("slot 13", p.Text);
        });
        Assert.Equal(2, result.Problems.Count);
        Assert.Equal([new Crid(c)], Verify(temp, [new Crid(c)], 100).Whole);
    }

    [Fact]
    public void Flipped_bytes_in_a_table_file_are_found_without_reading_content()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 6000);
        var a = temp.Capture(memory);
        var whole = temp.Capture(Memory.Random(5, 50), "whole");
        var file = new DirectoryInfo(new StorePaths(temp.Directory).Database).GetFiles("*.sst").MaxBy(f => f.Length)!;
        using (var stream = file.Open(FileMode.Open, FileAccess.ReadWrite))
        {
            stream.Position = file.Length / 2;
            var old = stream.ReadByte();
            stream.Position--;
            stream.WriteByte((byte)(old ^ 0x10));
        }

        var result = Verify(temp, [], 0);
        Assert.Equal([new Crid(whole.Crid)], result.Whole);
        Assert.Equal([new Crid(a.Crid)], result.Broken);
        Assert.InRange(result.Problems.Count, 1, 64); // one block, a few frames at most
        var pages = result.Problems.Select(p => (p.PageAddress!.Value - Memory.Base.Address) / 4096).Order().ToList();
        Assert.Equal(Enumerable.Range(0, pages.Count).Select(i => pages[0] + (ulong)i), pages);
        Assert.Equal(0UL, pages[0] % 16);

        // And what verify says is what a restore meets.
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(a.Crid));
        var page = new byte[4096];
        Assert.Throws<StoreDamagedException>(() => image.Read(default, new PageRange(Memory.Base + pages[0], 1), page));
        image.Read(default, new PageRange(Memory.Base + (pages[0] - 1), 1), page);
        Assert.Equal(memory.Pages[pages[0] - 1], page);
    }

    [Fact]
    public void Missing_pieces_are_named()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 1200);
        var a = new Crid(temp.Capture(memory, "a").Crid);
        var b = new Crid(temp.Capture(Memory.Random(2, 100), "b").Crid);
        var c = new Crid(temp.Capture(Memory.Random(3, 100), "c").Crid);
        var d = new Crid(temp.Capture(Memory.Random(4, 100), "d").Crid);
        var e = new Crid(temp.Capture(Memory.Random(6, 100), "e").Crid);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var segment = new byte[Keys.SegmentSize];
            Keys.Segment(a, default, Memory.Base.Number / 512 + 1, segment);
            batch.Delete(ColumnFamily.Maps, segment);
            batch.Delete(ColumnFamily.Maps, Keys.Root(b, default));
            batch.Delete(ColumnFamily.Bodies, Keys.Crid(c));
            batch.Delete(ColumnFamily.Chunks, StoreSurgery.Key(new FrameId(d, 2)));
        });
        var result = Verify(temp, [], 0);
        Assert.Equal([e], result.Whole);
        Assert.Equal([a, b, c, d], result.Broken);
        var segmentProblem = Assert.Single(result.Problems, p => p.Crid == a);
        Assert.Equal((42, VmaName, (Memory.Base + 512).Address), (segmentProblem.Pid, segmentProblem.Vma, segmentProblem.PageAddress));
        Assert.Contains("missing", segmentProblem.Text);
        Assert.Contains("root is missing", Assert.Single(result.Problems, p => p.Crid == b).Text);
        Assert.Contains("body of CRID", Assert.Single(result.Problems, p => p.Crid == c).Text);
        var pages = result.Problems.Where(p => p.Crid == d).ToList();
        Assert.Equal(Enumerable.Range(32, 16).Select(i => (Memory.Base + (ulong)i).Address), pages.Select(p => p.PageAddress!.Value));
        Assert.All(pages, p => Assert.Contains($"frame {d}/2: missing", p.Text));
        Assert.Equal(16, result.StoreProblems.Count(s => s.Contains($"frame {d}/2")));
    }

    [Fact]
    public void Index_entries_that_lead_astray_are_told()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 100);
        var a = new Crid(temp.Capture(memory).Crid);
        StoreSurgery.Edit(temp, (batch, _) =>
        {
            Put(batch, PageHash.Of(memory.Pages[3]), new ChunkLocation(a, 4));
            Put(batch, PageHash.Of(memory.Pages[5]), new ChunkLocation(a, 100_000));
            Put(batch, PageHash.Of(new byte[1]), new ChunkLocation(a, 7));
        });
        var result = Verify(temp, [], 0);
        Assert.Equal([a], result.Whole);
        Assert.Equal(3, result.StoreProblems.Count);
        Assert.Contains(result.StoreProblems, p => p.Contains("another page"));
        Assert.Contains(result.StoreProblems, p => p.Contains("missing"));
    }

    [Fact]
    public void Unreferenced_chunks_in_the_index_are_no_problem_as_long_as_they_are_there()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 100), "a");
        var b = new Crid(temp.Capture(Memory.Random(2, 100), "b").Crid);
        using var store = temp.Open();
        store.Forget([b], dryRun: false);
        var result = Verify(temp, [], 100);
        Assert.Empty(result.StoreProblems);
        Assert.Equal(100UL, result.PagesRead);
    }

    [Fact]
    public void Verify_runs_beside_captures()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 500);
        temp.Capture(memory);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var writer = store.BeginCapture("s", full: false);
        memory.Keep(writer.OpenSpace(new SpaceId(0), new SpaceId(0)), _ => true);
        Assert.Empty(reader.Verify([], new VerifyOptions(100), null, default).Problems);
        writer.Commit(Memory.Manifest());
        Assert.Single(reader.Verify([], new VerifyOptions(100), null, default).Whole);
        Assert.Equal(2, Verify(temp, [], 100).Whole.Count);
    }

    private static void Put(RocksWriteBatch batch, ContentHash hash, ChunkLocation location)
    {
        var key = new byte[ContentHash.Size];
        var value = new byte[Keys.LocationSize];
        hash.Write(key);
        Keys.Location(location, value);
        batch.Put(ColumnFamily.Index, key, value);
    }

    private static VerifyResult Verify(TempStore temp, IReadOnlyList<Crid> crids, double percent)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        return reader.Verify(crids, new VerifyOptions(percent), null, default);
    }
}

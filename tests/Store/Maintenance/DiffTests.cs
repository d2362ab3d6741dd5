using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

public sealed class DiffTests
{
    [Fact]
    public void The_differences_of_any_two_checkpoints_are_those_of_their_contents()
    {
        var seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        using var temp = new TempStore();
        var chain = Chain.Make(temp, new Random(seed), 6, pages: 900);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        foreach (var (x, before) in chain)
            foreach (var (y, after) in chain)
            {
                var space = Assert.Single(reader.Diff(x, y, null, default).Spaces);
                var expected = before.Pages.Keys.Union(after.Pages.Keys).Where(p => !Content(before, p).AsSpan().SequenceEqual(Content(after, p))).Order().ToList();
                Assert.Equal((ulong)expected.Count, space.PagesChanged);
                var actual = space.Vmas.SelectMany(v => v.Ranges).SelectMany(r => Enumerable.Range(0, (int)r.Count).Select(i => r.Start.Number + (ulong)i - Memory.Base.Number));
                Assert.Equal(expected, actual);
            }
    }

    [Fact]
    public void Equal_pages_that_were_stored_twice_are_equal()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 40);
        using var store = temp.Open();
        Crid a, b;
        using (var first = store.BeginCapture("a", full: false))
        using (var second = store.BeginCapture("b", full: false)) // neither sees the other's chunks
        {
            memory.WriteTo(first.OpenSpace(default, null));
            memory.WriteTo(second.OpenSpace(default, null));
            a = new Crid(first.Commit(Memory.Manifest()).Crid);
            var header = second.Commit(Memory.Manifest());
            Assert.Equal(40UL, header.Pages.Fresh);
            b = new Crid(header.Crid);
        }

        using var reader = store.OpenReader();
        var space = Assert.Single(reader.Diff(a, b, null, default).Spaces);
        Assert.Equal(0UL, space.PagesChanged);
        Assert.Empty(space.Vmas);
    }

    [Fact]
    public void Changes_are_shown_by_VMA_and_those_that_are_gone_by_their_old_one()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 100);
        var a = Capture(temp, memory, (0, 50, "heap"), (50, 60, "lib"), (60, 100, "stack"));
        var next = memory.Clone();
        next.Fill(3, 45, 20); // to the end of heap, all of lib, the first five of stack
        for (ulong p = 90; p < 100; p++) next.Remove(p);
        next.Fill(4, 200, 3);
        var b = Capture(temp, next, (0, 50, "heap"), (50, 60, "lib"), (60, 90, "stack"), (200, 210, "new"));
        using var store = temp.Open();
        using var reader = store.OpenReader();
        var space = Assert.Single(reader.Diff(a, b, null, default).Spaces);
        Assert.Equal([("heap", 5UL), ("lib", 10UL), ("stack", 5UL), ("stack", 10UL), ("new", 3UL)], space.Vmas.Select(v => (v.Name, v.PagesChanged)));
        Assert.Equal((Memory.Base + 90).Address, space.Vmas[3].Start);
        Assert.Equal(33UL, space.PagesChanged);
        Assert.Equal([("heap", 5UL), ("lib", 10UL), ("stack", 15UL), ("new", 3UL)],
            Assert.Single(reader.Diff(b, a, null, default).Spaces).Vmas.Select(v => (v.Name, v.PagesChanged)));
    }

    [Fact]
    public void Processes_are_matched_by_pid_and_one_that_only_one_side_has_differs_wholly()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        Crid CaptureTree(params (int Pid, Memory Memory)[] processes)
        {
            using var writer = store.BeginCapture("tree", full: true);
            var manifest = Memory.Manifest(processes.Length);
            for (var i = 0; i < processes.Length; i++)
            {
                manifest.Body.Processes[i].Pid = processes[i].Pid;
                processes[i].Memory.WriteTo(writer.OpenSpace(new SpaceId((uint)i), null));
            }

            return new Crid(writer.Commit(manifest).Crid);
        }

        var (x, y, z) = (Memory.Random(1, 30), Memory.Random(2, 30), Memory.Random(3, 7));
        var a = CaptureTree((10, x), (11, y));
        var b = CaptureTree((11, y), (12, z), (10, x));
        using var reader = store.OpenReader();
        Assert.Equal([(10, 0UL), (11, 0UL), (12, 7UL)], reader.Diff(a, b, null, default).Spaces.Select(s => (s.Pid, s.PagesChanged)));
    }

    [Fact]
    public void Zero_and_never_touched_are_the_same_in_memory_but_not_over_a_file()
    {
        foreach (var content in new[] { VmaContent.Saved, VmaContent.FileBacked })
        {
            using var temp = new TempStore();
            using var store = temp.Open();
            Crid Take(bool zero)
            {
                using var writer = store.BeginCapture("s", full: true);
                var space = writer.OpenSpace(default, null);
                if (zero) space.SetZero(new PageRange(Memory.Base, 5));
                var manifest = Memory.Manifest();
                manifest.Body.Processes[0].Vmas[0].Content = content;
                return new Crid(writer.Commit(manifest).Crid);
            }

            var (a, b) = (Take(false), Take(true));
            using var reader = store.OpenReader();
            Assert.Equal(content == VmaContent.Saved ? 0UL : 5UL, reader.Diff(a, b, null, default).Spaces[0].PagesChanged);
        }
    }

    [Fact]
    public void Stats_count_what_is_there()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 6000);
        temp.Capture(memory, "a");
        temp.Capture(memory, "b");
        using var store = temp.Open();
        using var reader = store.OpenReader();
        var stats = reader.Stats(null, default);
        Assert.Equal((2, 12_000UL * 4096, 6000UL, 6000UL * 4096), (stats.Checkpoints, stats.LogicalBytes, stats.Chunks, stats.UniqueBytes));
        Assert.Equal(2.0, stats.DedupRatio);
        Assert.InRange(stats.CompressedBytes, 6000UL * 1024, 6000UL * 1400); // a quarter of each page is noise
        Assert.InRange(stats.IndexBytes, 6000UL * 32, 6000UL * 50); // 32 of each are noise; unpacked they take 57
        Assert.True(stats.DirectoryBytes > stats.CompressedBytes);
        Assert.Equal(["a", "b"], stats.Series.Select(s => s.Name));
    }

    private static byte[] Content(Memory memory, ulong page) => memory.Pages.TryGetValue(page, out var content) ? content : new byte[4096];

    private static Crid Capture(TempStore temp, Memory memory, params (ulong Start, ulong End, string Name)[] vmas)
    {
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", full: true);
        memory.WriteTo(writer.OpenSpace(default, null));
        var manifest = Memory.Manifest();
        manifest.Body.Processes[0].Vmas.Clear();
        foreach (var (start, end, name) in vmas)
            manifest.Body.Processes[0].Vmas.Add(new Vma { Start = (Memory.Base + start).Address, End = (Memory.Base + end).Address, Name = name });
        return new Crid(writer.Commit(manifest).Crid);
    }
}

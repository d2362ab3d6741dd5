using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Pages copied by several threads: every one in its place, and what can't be read is listed, whoever came upon it.</summary>
public sealed class PageReaderTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void Every_page_arrives_in_its_place_and_unreadable_ones_are_listed(int threads)
    {
        using var target = TrapTests.Started();
        const int pages = 6000;
        var area = VirtualPage.Of(TrapTests.Area(target.Ask($"map a {pages}")));
        target.Ask("protect a 1000 3 none"); // only /proc/PID/mem reads these
        var hole = area + 2500;
        target.Ask("guard a 2500 2");
        var random = Seeds.Random();
        var space = new MemorySpace(null);
        using var crew = new FreezeCrew(threads);
        using var buffer = new PageBuffer(8 << 20); // a third of it: drained in between
        buffer.Prepare(8 << 20);
        var asked = new HashSet<VirtualPage>();
        using (var reader = new PageReader(target.Pid, new CopyQueue(), crew))
        {
            for (ulong at = 0; at < pages;)
            {
                var run = new PageRange(area + at, Math.Min(pages - at, 1 + (ulong)random.Next(random.Next(3) == 0 ? 700 : 3)));
                reader.Copy(run, forced: false, buffer, space);
                for (ulong i = 0; i < run.Count; i++) asked.Add(run.Start + i);
                at += run.Count + (ulong)random.Next(3);
            }

            // The sample shares the queue: what it loses is its own affair.
            VirtualPage[] sample = [area, hole, area + 5999];
            using var copied = new MappedMemory(sample.Length * VirtualPage.Size, huge: false);
            var lost = new List<VirtualPage>();
            reader.CopySample(sample, copied, (page, _) => lost.Add(page), buffer, space);
            reader.Flush(buffer, space);
            Assert.Equal([hole], lost);
            using (var now = RemoteMemory.Open(target.Pid))
            {
                var page = new byte[VirtualPage.Size];
                now.Read(sample[2].Address, page);
                Assert.True(copied.GetSpan()[(2 * VirtualPage.Size)..].SequenceEqual(page));
            }

            Assert.Equal(asked.Where(p => p == hole || p == hole + 1), reader.Unreadable.Select(u => u.Page));
            Assert.Equal((ulong)asked.Count - (ulong)reader.Unreadable.Count, reader.PagesRead);
        }

        buffer.Drain();
        using var memory = RemoteMemory.Open(target.Pid);
        var content = new byte[VirtualPage.Size];
        foreach (var page in asked.Where(p => p != hole && p != hole + 1))
        {
            memory.Read(page.Address, content);
            Assert.Equal(PageHash.Of(content), space.Pages[page.Number].Hash);
        }
    }

    [Fact]
    public void More_single_pages_than_the_queue_holds_are_copied_in_rounds()
    {
        using var target = TrapTests.Started();
        const int pages = 70000;
        var area = VirtualPage.Of(TrapTests.Area(target.Ask($"map a {pages} noreserve")));
        target.Ask("fill a 68000 2000");
        using var crew = new FreezeCrew(1);
        using var reader = new PageReader(target.Pid, new CopyQueue(), crew);
        using var copied = new MappedMemory(pages * VirtualPage.Size, huge: false);
        var wanted = Enumerable.Range(0, pages).Select(i => area + (ulong)i).ToArray();
        using var buffer = new PageBuffer(1 << 20);
        var space = new MemorySpace(null);
        reader.CopySample(wanted, copied, (page, error) => Assert.Fail($"{page}: {error}"), buffer, space);
        reader.Flush(buffer, space);
        using var memory = RemoteMemory.Open(target.Pid);
        var content = new byte[VirtualPage.Size];
        for (var i = 0; i < pages; i += i < 68000 ? 997 : 1)
        {
            memory.Read(wanted[i].Address, content);
            Assert.True(copied.GetSpan().Slice(i * VirtualPage.Size, VirtualPage.Size).SequenceEqual(content), $"page {i}");
        }
    }
}

using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>Content in memory that is lent to the store instead of copied: <see cref="PageLoan"/>.</summary>
public sealed class LentPagesTests
{
    private const int WindowPages = 2048;

    [Fact]
    public void What_is_lent_is_stored_as_it_was_whatever_becomes_of_its_memory_once_it_is_returned()
    {
        var random = Seeds.Random();
        using var temp = new TempStore();
        var memory = Holey(random, 5 * WindowPages);
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", full: true);
        var space = writer.OpenSpace(new SpaceId(0), null);
        Lend(space, memory, random);
        var header = writer.Commit(Memory.Manifest());
        Assert.Equal((ulong)memory.Count, header.Pages.Dirty);
        Assert.True(header.Pages.Fresh < header.Pages.Dirty - header.Pages.Zero, "some pages came twice");
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(header.Crid));
        memory.AssertEquals(image);
    }

    [Fact]
    public void Much_new_of_what_is_lent_to_a_base_goes_into_table_files_at_once_and_not_through_memory_as_little_would()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(7, 1200));
        Assert.Equal(0, Tables(temp));
        CaptureLent(temp, Memory.Random(8, 1200), full: true);
        Assert.Equal(1, Tables(temp));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Little_new_of_what_is_lent_makes_no_table_file_of_its_own(bool full)
    {
        using var temp = new TempStore();
        var memory = Memory.Random(7, 1200);
        temp.Capture(memory);
        for (var round = 0; round < 2; round++)
        {
            memory.Set(3, Memory.Random(10 + round, 1).Pages[0]);
            CaptureLent(temp, memory, full);
        }

        if (!full) CaptureLent(temp, Memory.Random(9, 1200), full); // or a watch would leave one at each turn
        Assert.Equal(0, Tables(temp));
    }

    [Fact]
    public void A_store_that_is_given_up_returns_what_it_was_lent()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(3, WindowPages);
        var (content, loan) = (new byte[WindowPages * VirtualPage.Size], new PageLoan());
        for (var i = 0; i < WindowPages; i++) memory.Pages[(ulong)i].CopyTo(content, i * VirtualPage.Size);
        using var store = temp.Open();
        using (var writer = store.BeginCapture("s", full: true))
        {
            var space = writer.OpenSpace(new SpaceId(0), null);
            space.SetContent([new PageRange(Memory.Base, WindowPages)], content, loan);
            Assert.Throws<ArgumentException>(() => space.SetContent([new PageRange(Memory.Base, 3)], content, loan));
            loan.Await(); // though the last frame waits for more pages
        }

        loan.Await();
    }

    [Fact]
    public void A_store_that_fails_in_the_middle_returns_what_it_was_lent()
    {
        using var temp = new TempStore();
        var (content, loan) = (new byte[WindowPages * VirtualPage.Size], new PageLoan());
        using var store = temp.Open();
        using (var writer = store.BeginCapture("s", full: true))
        {
            var space = writer.OpenSpace(new SpaceId(0), null);
            var incoming = Path.Combine(temp.Directory, "incoming");
            Directory.Move(incoming, incoming + "-away"); // frames that don't fit in memory have no place to go
            Assert.ThrowsAny<Exception>(() =>
            {
                for (var window = 0UL; window < 100; window++)
                {
                    Random.Shared.NextBytes(content);
                    space.SetContent([new PageRange(Memory.Base + (window * WindowPages), WindowPages)], content, loan);
                    loan.Await();
                }
            });
            loan.Await();
            Directory.Move(incoming + "-away", incoming);
        }

        loan.Await();
    }

    // All of it in one window, and then read back.
    private static void CaptureLent(TempStore temp, Memory memory, bool full)
    {
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", full);
        var content = memory.Pages.Values.SelectMany(p => p).ToArray();
        writer.OpenSpace(new SpaceId(0), full ? null : new SpaceId(0)).SetContent([new PageRange(Memory.Base, (ulong)memory.Count)], content, new PageLoan());
        var crid = new Crid(writer.Commit(Memory.Manifest()).Crid);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
    }

    private static int Tables(TempStore temp) => Directory.GetFiles(new StorePaths(temp.Directory).Database, "*.sst").Length;

    /// <summary>Runs of all lengths with holes between them; some pages are zero, some come twice, and so frames have pages that don't lie side by side.</summary>
    private static Memory Holey(Random random, int count)
    {
        var memory = Memory.Random(random.Next(), count, zeroEvery: 50);
        for (var i = 0; i < count / 40; i++) memory.Set((ulong)random.Next(count), memory.Pages[(ulong)random.Next(count)]);
        for (var i = 0; i < 30; i++)
            for (ulong at = (ulong)random.Next(count), left = (ulong)random.Next(1, 40); left > 0; left--) memory.Remove(at++);
        return memory;
    }

    // Two windows in turn, full ones and small ones, as a round has them; between them some pages that are not lent.
    private static void Lend(ISpaceWriter space, Memory memory, Random random)
    {
        (byte[] Memory, PageLoan Loan)[] windows = [(new byte[WindowPages * VirtualPage.Size], new PageLoan()), (new byte[WindowPages * VirtualPage.Size], new PageLoan())];
        int[] sizes = [WindowPages, 1, 300, 513, 1000];
        var pages = memory.Pages.ToList();
        for (int done = 0, turn = 0; done < pages.Count; turn++)
        {
            var size = Math.Min(sizes[random.Next(sizes.Length)], pages.Count - done);
            var (window, loan) = windows[turn % 2];
            loan.Await();
            var runs = new List<PageRange>();
            for (var i = 0; i < size; i++)
            {
                var (page, content) = pages[done + i];
                content.CopyTo(window, i * VirtualPage.Size);
                var address = Memory.Base + page;
                if (runs.Count > 0 && runs[^1].End == address) runs[^1] = runs[^1] with { Count = runs[^1].Count + 1 };
                else runs.Add(new PageRange(address, 1));
            }

            if (turn % 5 == 4) memory.WriteTo(space, pages.Skip(done).Take(size).Select(p => p.Key));
            else space.SetContent(runs, window.AsMemory(0, size * VirtualPage.Size), loan);
            done += size;
            if (random.Next(2) == 0 && done < pages.Count) continue; // it is awaited when its turn comes, mostly
            loan.Await();
            window.AsSpan().Fill(0xcc);
        }
    }
}

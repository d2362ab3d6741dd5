using Crstore.Model;
using Crstore.Model.Format;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>A synthetic address space: what each page should read as.</summary>
internal sealed class Memory
{
    /// <summary>First page of everything that the tests make.</summary>
    public static readonly VirtualPage Base = VirtualPage.Of(0x7f00_0000_0000);

    private readonly SortedDictionary<ulong, byte[]> pages = [];

    public IReadOnlyDictionary<ulong, byte[]> Pages => pages;

    public int Count => pages.Count;

    /// <summary>Consecutive pages with content from a seed.</summary>
    public static Memory Random(int seed, int count, int zeroEvery = 0)
    {
        var memory = new Memory();
        memory.Fill(seed, 0, count, zeroEvery);
        return memory;
    }

    public void Fill(int seed, int first, int count, int zeroEvery = 0)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var page = new byte[VirtualPage.Size];
            if (zeroEvery == 0 || i % zeroEvery != 0)
            {
                random.NextBytes(page.AsSpan(0, 1024)); // a quarter random, the rest compresses
                BitConverter.TryWriteBytes(page.AsSpan(2048), i);
            }

            pages[(ulong)(first + i)] = page;
        }
    }

    public void Set(ulong page, byte[] content) => pages[page] = content;

    /// <summary>Changes a few bytes of a page, as programs do: little enough for a patch.</summary>
    public void Touch(ulong page, Random random, int places = 3)
    {
        var content = pages[page].ToArray();
        for (var i = 0; i < places; i++) random.NextBytes(content.AsSpan(random.Next(VirtualPage.Size - 8), 8));
        pages[page] = content;
    }

    public void Remove(ulong page) => pages.Remove(page);

    public Memory Clone()
    {
        var copy = new Memory();
        foreach (var (page, content) in pages) copy.pages[page] = content;
        return copy;
    }

    public void WriteTo(ISpaceWriter space, IEnumerable<ulong>? only = null)
    {
        var set = only?.ToHashSet();
        foreach (var run in Runs(p => set is null || set.Contains(p)))
        {
            var buffer = new byte[run.Count * VirtualPage.Size];
            for (var i = 0; i < run.Count; i++) pages[run.First + (ulong)i].CopyTo(buffer, i * VirtualPage.Size);
            space.SetContent(Base + run.First, buffer);
        }
    }

    public void Keep(ISpaceWriter space, Func<ulong, bool> which)
    {
        foreach (var run in Runs(which)) space.Keep(new PageRange(Base + run.First, (ulong)run.Count));
    }

    /// <summary>Every page of the image within a margin around the memory is what it should be, page by page.</summary>
    public void AssertEquals(ICheckpointImage image, SpaceId space = default)
    {
        var last = pages.Count == 0 ? 0 : pages.Keys.Max();
        var range = new PageRange(Base, last + 16);
        var read = new byte[range.SizeBytes];
        image.Read(space, range, read);
        for (ulong i = 0; i < range.Count; i++)
        {
            var got = read.AsSpan((int)i * VirtualPage.Size, VirtualPage.Size);
            var want = pages.TryGetValue(i, out var page) ? page : new byte[VirtualPage.Size];
            Assert.True(got.SequenceEqual(want), $"page {i} of CRID {image.Manifest.Crid} differs");
        }

        // Handed out one by one: the same pages, but for those that are zero, and each once.
        var receiver = new Receiver();
        image.Read(space, [new PageTarget(range, default, receiver)]);
        Assert.Equal(pages.Where(p => p.Value.AsSpan().ContainsAnyExcept((byte)0)).Select(p => p.Key), receiver.Pages.Keys);
        foreach (var (page, content) in receiver.Pages) Assert.True(content.AsSpan().SequenceEqual(pages[page]), $"page {page} of CRID {image.Manifest.Crid} was handed out wrongly");

        var kinds = image.Spans(space, range).SelectMany(s => Enumerable.Range(0, (int)s.Range.Count)
            .Select(i => (Page: s.Range.Start.Number - Base.Number + (ulong)i, s.Kind))).ToDictionary(x => x.Page, x => x.Kind);
        Assert.Equal(pages.Keys, kinds.Keys.Order());
        foreach (var (page, content) in pages)
            Assert.Equal(content.AsSpan().ContainsAnyExcept((byte)0) ? PageKind.Chunk : PageKind.Zero, kinds[page]);
    }

    public static CheckpointManifest Manifest(int spaces = 1)
    {
        var header = new CheckpointHeader { Command = "test", RootPid = 42, CapturedUnixNs = (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100 };
        var body = new CheckpointBody();
        for (var i = 0; i < spaces; i++)
            body.Processes.Add(new Process { Space = (uint)i, Pid = 42 + i, Comm = "test", Vmas = { new Vma { Start = Base.Address, End = Base.Address + (1UL << 32) } } });
        return new CheckpointManifest(header, body);
    }

    private IEnumerable<(ulong First, int Count)> Runs(Func<ulong, bool> which)
    {
        ulong first = 0;
        var count = 0;
        foreach (var page in pages.Keys)
        {
            if (!which(page)) continue;
            if (count > 0 && page != first + (ulong)count)
            {
                yield return (first, count);
                count = 0;
            }

            if (count == 0) first = page;
            count++;
        }

        if (count > 0) yield return (first, count);
    }

    private sealed class Receiver : IPageReceiver
    {
        public SortedDictionary<ulong, byte[]> Pages { get; } = [];

        public void Receive(VirtualPage first, ReadOnlySpan<byte> pages)
        {
            lock (Pages)
            {
                for (var i = 0; i < pages.Length / VirtualPage.Size; i++)
                    Pages.Add(first.Number - Base.Number + (ulong)i, pages.Slice(i * VirtualPage.Size, VirtualPage.Size).ToArray());
            }
        }
    }
}

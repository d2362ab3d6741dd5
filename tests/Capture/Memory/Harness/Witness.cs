using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>
/// Every page of a frozen process as /proc/PID/mem and /proc/PID/pagemap have it: independent of trackers, scanners and plans.
/// </summary>
internal sealed class Witness
{
    private readonly Dictionary<ulong, ContentHash> _pages = [];
    private readonly HashSet<ulong> _files = [];
    private readonly List<PlannedVma> _vmas = [];

    public static Witness Read(int pid, IReadOnlyList<PlannedVma> vmas)
    {
        var witness = new Witness();
        using var memory = RemoteMemory.Open(pid);
        using var pagemap = Pagemap.Open(pid);
        var entries = new ulong[65536];
        var content = new byte[VirtualPage.Size];
        foreach (var vma in vmas)
        {
            if (vma.Content == VmaContent.NotCaptured || vma.Policy == ReadPolicy.Nothing) continue;
            witness._vmas.Add(vma);
            for (var page = vma.Range.Start; page.Number < vma.Range.End.Number; page += (ulong)entries.Length)
            {
                var n = pagemap.Read(page, entries.AsSpan(0, (int)Math.Min((ulong)entries.Length, vma.Range.End.Number - page.Number)));
                for (var i = 0; i < n; i++)
                    if (entries[i] >> 62 != 0)
                        witness.Look(memory, page + (ulong)i, new PagemapEntry(entries[i]), vma, content);
            }
        }

        return witness;
    }

    /// <summary>The page map must say of every page what was seen here.</summary>
    public void Check(MemorySpace space, IReadOnlyList<VirtualPage> lies)
    {
        foreach (var (page, hash) in _pages)
        {
            var known = space.Pages.TryGetValue(page, out var entry);
            if (entry.Kind == PageKind.Excluded) continue;
            Assert.True(known ? entry.Hash == hash : hash == MemorySpace.ZeroHash || _files.Contains(page),
                $"page {new VirtualPage(page)} is {(known ? entry.Kind : PageKind.Absent)} in the image, but other content was in memory"
                + $" ({(lies.Count > 0 ? "the sample noticed" : "unnoticed")}; VMA {_vmas.First(v => v.Range.Contains(new VirtualPage(page))).Entry})");
        }

        // What the image has and memory has not: only zeros, and pages of shared objects that this process has not touched.
        foreach (var (page, entry) in space.Pages)
            if (!_pages.ContainsKey(page) && entry.Kind == PageKind.Chunk)
                Assert.True(_vmas.Exists(v => v.Range.Contains(new VirtualPage(page)) && v.Policy is ReadPolicy.SharedData or ReadPolicy.Everything),
                    $"page {new VirtualPage(page)} is in the image, but not in memory");
    }

    private void Look(RemoteMemory memory, VirtualPage page, PagemapEntry entry, PlannedVma vma, byte[] content)
    {
        if (memory.TryReadForced(page.Address, content) != VirtualPage.Size) return; // guard pages, and what the capture must list
        _pages[page.Number] = PageHash.Of(content);
        if (vma.Policy == ReadPolicy.Modified && entry.FileOrShared) _files.Add(page.Number);
    }
}

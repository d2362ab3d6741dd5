using System.Numerics;
using System.Runtime.InteropServices;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// How much of its memory a running process changes within milliseconds: some pages chosen at random, read twice. It is not stopped for that, and nothing is protected. No proof depends on it,
/// only whether rounds are made: what is written with the content that it had goes unseen.
/// </summary>
internal sealed class WriteSample : IDisposable
{
    /// <summary>Pages in all, if there are as many.</summary>
    public const int MaxPages = 512;

    private readonly int _pid;
    private readonly List<VirtualPage> _pages;
    private readonly bool[] _read;
    private readonly uint[] _sums; // of their contents, which would be 2 MiB to be faulted in
    private readonly byte[] _now = GC.AllocateUninitializedArray<byte>(VirtualPage.Size);
    private readonly IPageScanner _scanner;
    private readonly RunList<PageRun> _found = new(4);

    /// <summary>Chooses the pages and takes the first look.</summary>
    /// <param name="pid">Process, which has no userfaultfd but crstore's: reading must not wait for it.</param>
    /// <param name="memory">Private anonymous memory of its own, in address order.</param>
    /// <param name="most">Pages, if there are as many.</param>
    public WriteSample(int pid, IReadOnlyList<PageRange> memory, int most = MaxPages)
    {
        _pid = pid;
        _scanner = KernelProbes.Current.OpenScanner(pid, needSoftDirty: false);
        ulong all = 0;
        foreach (var range in memory) all += range.Count;
        var count = (int)Math.Min(all, (ulong)most);
        (_pages, _read, _sums) = (new(count), new bool[count], new uint[count]);
        Choose(memory, all, (ulong)count);
        for (var i = 0; i < _pages.Count; i++) _read[i] = TryRead(_pages[i], out _sums[i]);
    }

    /// <summary>Pages that are in the sample.</summary>
    public int Count => _pages.Count;

    /// <summary>How many of them have another content now than at the first look, or are not there any more.</summary>
    public int CountChanged()
    {
        var changed = 0;
        for (var i = 0; i < _pages.Count; i++)
            if (_read[i] && !(TryRead(_pages[i], out var sum) && sum == _sums[i])) changed++;
        return changed;
    }

    /// <inheritdoc/>
    public void Dispose() => _scanner.Dispose();

    // One from each of as many equal shares: spread over all of it, and none twice.
    private void Choose(IReadOnlyList<PageRange> memory, ulong all, ulong wanted)
    {
        ulong before = 0, next = 0;
        foreach (var range in memory)
        {
            for (; next < wanted; next++)
            {
                var (first, behind) = (all * next / wanted, all * (next + 1) / wanted);
                var pick = Math.Max(before, first + (ulong)Random.Shared.NextInt64((long)(behind - first)));
                if (pick >= before + range.Count) break;
                _pages.Add(range.Start + (pick - before));
            }

            before += range.Count;
        }
    }

    // Asked for right before: something else may be mapped there by now, of which reading would fill holes.
    private bool TryRead(VirtualPage page, out uint sum)
    {
        sum = 0;
        _found.Clear();
        _scanner.Scan(new PageRange(page, 1), fileMapping: true, _found);
        if (_found.Count != 1 || (_found[0].Flags & (PageCategories.Present | PageCategories.File)) != PageCategories.Present) return false;
        if (RemoteMemory.TryRead(_pid, [new RemoteSpan(page.Address, VirtualPage.Size)], _now) != VirtualPage.Size) return false;
        foreach (var word in MemoryMarshal.Cast<byte, ulong>(_now)) sum = BitOperations.Crc32C(sum, word);
        return true;
    }
}

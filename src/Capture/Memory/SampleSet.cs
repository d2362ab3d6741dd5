using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// A random sample of the pages to keep, copied in the freeze and compared with the parent after the thaw: does the tracker lie?
/// </summary>
public sealed class SampleSet : IDisposable
{
    /// <summary>Fewest pages, if there are as many.</summary>
    public const int Min = 16;

    /// <summary>Most pages.</summary>
    public const int Max = 2048;

    private readonly ulong[] _picks = new ulong[Max];
    private readonly VirtualPage[] _pages = new VirtualPage[Max];
    private readonly bool[] _unreadable = new bool[Max];
    private readonly MappedMemory _content = new(Max * VirtualPage.Size, huge: false);
    private int _prepared;

    /// <summary>Pages in the sample.</summary>
    public int Count { get; private set; }

    /// <summary>Faults in room for the sample of that many kept pages, and throws the dice. Before the freeze.</summary>
    public void Prepare(ulong keptEstimate, double share)
    {
        _prepared = Math.Min(Max, Math.Max(Min, Size(keptEstimate, share) * 5 / 4));
        KernelRandom.Fill(System.Runtime.InteropServices.MemoryMarshal.AsBytes(_picks.AsSpan()));
        _content.Populate(0, _prepared * VirtualPage.Size);
    }

    /// <summary>
    /// Picks pages at random among the kept ones and copies them. Of those that a round has read only such as it remembers: these were
    /// chosen at random as well.
    /// </summary>
    /// <param name="plan">Says what is kept.</param>
    /// <param name="share">Share of it.</param>
    /// <param name="rounds">What rounds before have read.</param>
    /// <param name="reader">Copies, up to its next <see cref="PageReader.Flush"/>.</param>
    /// <param name="buffer">Where it has copied to before.</param>
    /// <param name="writer">The space that belongs to.</param>
    public void Take(PagePlan plan, double share, PreCopiedPages rounds, PageReader reader, PageBuffer buffer, ISpaceWriter writer)
    {
        Count = 0;
        var wanted = Size(plan.Kept, share);
        var picks = _picks.AsSpan(0, wanted);
        // One page from each of as many equal shares: spread over all memory, none twice, and in order already.
        for (var i = 0; i < wanted; i++)
        {
            var first = Share(plan.Kept, i, wanted);
            picks[i] = first + picks[i] % (Share(plan.Kept, i + 1, wanted) - first);
        }

        ulong before = 0;
        int next = 0, known = 0;
        foreach (var run in plan.Runs)
        {
            if (run.Action != PageAction.Keep) continue;
            while (known < rounds.Samples.Count && rounds.Samples[known].Page.Number < run.Range.Start.Number) known++;
            for (; next < wanted && picks[next] < before + run.Range.Count; next++)
            {
                var pick = run.Range.Start + (picks[next] - before);
                for (; known < rounds.Samples.Count && rounds.Samples[known].Page.Number < pick.Number; known++) Add(rounds.Samples[known].Page);
                if (rounds.Runs.Count == 0 || rounds.IsFromParent(pick)) Add(pick);
            }

            for (; known < rounds.Samples.Count && run.Range.Contains(rounds.Samples[known].Page); known++) Add(rounds.Samples[known].Page);
            before += run.Range.Count;
        }

        Array.Clear(_unreadable);
        reader.CopySample(_pages.AsSpan(0, Count), _content, (page, _) => _unreadable[Array.IndexOf(_pages, page)] = true, buffer, writer);
    }

    /// <summary>Compares with the parent; returns the pages that the tracker called clean and that are not.</summary>
    /// <param name="parent">Where the parent's content can be asked for.</param>
    /// <param name="unreadable">Kept pages that can't be read any more are added here.</param>
    public List<VirtualPage> FindLies(ISpaceWriter parent, List<VirtualPage> unreadable)
    {
        var lies = new List<VirtualPage>();
        for (var i = 0; i < Count; i++)
        {
            if (_unreadable[i]) unreadable.Add(_pages[i]);
            else if (!parent.MatchesParent(_pages[i], _content.GetSpan().Slice(i * VirtualPage.Size, VirtualPage.Size))) lies.Add(_pages[i]);
        }

        return lies;
    }

    /// <inheritdoc/>
    public void Dispose() => ((IDisposable)_content).Dispose();

    private void Add(VirtualPage page)
    {
        if (Count < Max) _pages[Count++] = page;
    }

    private static ulong Share(ulong kept, int i, int of) => kept / (ulong)of * (ulong)i + kept % (ulong)of * (ulong)i / (ulong)of;

    /// <summary>Pages in a sample of that many, one at least.</summary>
    public static ulong SizeOf(ulong pages, double share) => (ulong)Math.Max(1, Size(pages, share));

    private static int Size(ulong kept, double share) =>
        (int)Math.Min(kept, (ulong)Math.Clamp(kept * Math.Clamp(share, 0, 1), Min, Max));
}

using System.IO.Enumeration;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>What the user wants left out: address ranges, and mappings by path or name (with * and ?).</summary>
public sealed class ExclusionRules
{
    private readonly PageRange[] _ranges;
    private readonly string[] _names;

    /// <summary>Sorts out the rules.</summary>
    /// <exception cref="UsageException">A rule makes no sense.</exception>
    public ExclusionRules(IReadOnlyList<ExcludeRule> rules)
    {
        _names = [.. rules.Where(r => r.Path is not null).Select(r => r.Path!)];
        _ranges = [.. rules.Where(r => r.Path is null).Select(ToPages).OrderBy(r => r.Start)];
    }

    /// <summary>The ranges that apply to a VMA, sorted; they may reach beyond it.</summary>
    public ReadOnlySpan<PageRange> For(PlannedVma vma)
    {
        if (_names.Length == 0 || !Array.Exists(_names, n => Matches(n, vma.Entry))) return _ranges;
        return new PageRange[] { vma.Range };
    }

    /// <summary>A warning for each rule that fits nothing: a slip of the pen here may store what was never to be stored.</summary>
    public static IEnumerable<string> WithoutEffect(IReadOnlyList<ExcludeRule> rules, IEnumerable<Process> processes)
    {
        var vmas = processes.SelectMany(p => p.Vmas).ToList();
        foreach (var rule in rules)
        {
            if (rule.Path is { } name && !vmas.Exists(v => Matches(name, EntryOf(v))))
                yield return $"--exclude {name} left nothing out: no mapping has that path or name (`crstore show` lists them)";
            if (rule.Path is null && !vmas.Exists(v => v.Start < rule.End && v.End > rule.Start))
                yield return $"--exclude 0x{rule.Start:x}-0x{rule.End:x} left nothing out: nothing is mapped there";
        }
    }

    private static bool Matches(string pattern, MapsEntry entry) => Fits(pattern, entry.Path) || Fits(pattern, entry.Name);

    private static MapsEntry EntryOf(Vma vma) => new(vma.Start, vma.End, default, vma.Shared, vma.OffsetBytes, default, vma.Inode, vma.Name);

    private static bool Fits(string pattern, string name) => FileSystemName.MatchesSimpleExpression(pattern, name, ignoreCase: false);

    // A page that is excluded in part is excluded: the user does not want those bytes stored.
    private static PageRange ToPages(ExcludeRule rule)
    {
        if (rule is not { Start: { } start, End: { } end } || end <= start)
            throw new UsageException($"exclude range {rule.Start:x}-{rule.End:x} is empty", "give START-END in hex, END behind START, as in /proc/PID/maps");
        return PageRange.Between(VirtualPage.Of(start), new VirtualPage((end - 1 >> VirtualPage.Shift) + 1));
    }
}

/// <summary>Lists for the manifest what is missing from an image.</summary>
internal static class ExclusionReport
{
    public static void Fill(int pid, IReadOnlyList<PlannedVma> vmas, PagePlan plan, List<UnreadablePage> unreadable, ICollection<Exclusion> exclusions)
    {
        foreach (var run in plan.Runs)
            if (run.Action == PageAction.Exclude)
                exclusions.Add(New(pid, run.Range, vmas[run.Vma].LeaveOut ? "MADV_DONTDUMP" : "--exclude"));
            else if (run.Action == PageAction.Hide)
                exclusions.Add(New(pid, run.Range, SharedData.WhyUnknown(vmas[run.Vma])));
        unreadable.Sort((a, b) => a.Page.CompareTo(b.Page));
        for (var i = 0; i < unreadable.Count;)
        {
            var first = unreadable[i++];
            ulong count = 1;
            for (; i < unreadable.Count && unreadable[i].Page == first.Page + count && unreadable[i].ErrorNumber == first.ErrorNumber; i++) count++;
            exclusions.Add(New(pid, new PageRange(first.Page, count), $"unreadable: {Errno.Describe(first.ErrorNumber)}"));
        }
    }

    private static Exclusion New(int pid, PageRange range, string reason) =>
        new() { Pid = pid, Start = range.Start.Address, SizeBytes = range.SizeBytes, Reason = reason };
}

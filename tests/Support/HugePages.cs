using System.Globalization;

namespace Crstore.Tests.Support;

/// <summary>Huge TLB pages of the machine, of which there are none unless somebody asks for them: for one test at a time, and given back at Dispose.</summary>
public sealed class HugePages : IDisposable
{
    private const string Setting = "/proc/sys/vm/nr_hugepages";
    private readonly IDisposable _lock;
    private readonly string _before;

    private HugePages(IDisposable held, string before) => (_lock, _before) = (held, before);

    /// <summary>So many, of 2 MiB each. Skips the test where there can be none.</summary>
    public static HugePages Take(int count)
    {
        var held = FileLock.Take(Path.Combine(Path.GetTempPath(), "crstore-test-hugepages.lock"), Patience.Limit);
        try
        {
            var before = File.ReadAllText(Setting).Trim();
            var pages = new HugePages(held, before);
            if (pages.Ask(count)) return pages;
            File.WriteAllText("/proc/sys/vm/compact_memory", "1"); // fragmented, perhaps
            if (pages.Ask(count)) return pages;
            File.WriteAllText(Setting, before);
            throw new IOException("the kernel has no room for them");
        }
        catch (Exception e)
        {
            held.Dispose();
            if (e is UnauthorizedAccessException or IOException) Requires.Missing($"hugetlb pages: {e.Message}");
            throw;
        }
    }

    // The kernel takes fewer without a word.
    private bool Ask(int count)
    {
        var wanted = int.Parse(_before, CultureInfo.InvariantCulture) + count;
        File.WriteAllText(Setting, wanted.ToString(CultureInfo.InvariantCulture));
        return int.Parse(File.ReadAllText(Setting), CultureInfo.InvariantCulture) >= wanted;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        File.WriteAllText(Setting, _before);
        _lock.Dispose();
    }
}

using System.Diagnostics;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;

namespace Crstore.Capture.Memory;

/// <summary>
/// VmFlags of processes' mappings as they were last read, for a program that captures them often: to read them the kernel walks all page tables (3 to 12 ms
/// of its time for 256 MiB). They may change while maps says the same (madvise(2), mlock(2)), so they count only for a moment: as long as those
/// of a capture with rounds may be old anyway. What is believed of pages must not depend on them. Not thread safe.
/// </summary>
public sealed class RecentFlags
{
    /// <summary>They count for so long.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(1);

    private readonly Dictionary<int, Reading> _readings = [];

    /// <summary>The flags of these mappings, if they are known of just these.</summary>
    /// <param name="pid">Whose.</param>
    /// <param name="entries">They, as they are now.</param>
    /// <param name="flags">Gets the flags of each, in order.</param>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public bool TryGet(int pid, List<MapsEntry> entries, List<string> flags)
    {
        if (!_readings.TryGetValue(pid, out var last) || Stopwatch.GetElapsedTime(last.ReadAt) >= Limit) return false;
        if (StartTimeOf(pid) != last.StartTimeTicks || entries.Count != last.Entries.Length) return false;
        for (var i = 0; i < entries.Count; i++)
            if (entries[i] != last.Entries[i]) return false;
        flags.Clear();
        flags.AddRange(last.Flags);
        return true;
    }

    /// <summary>Remembers what was read.</summary>
    /// <param name="pid">Whose.</param>
    /// <param name="readAt">When the reading began, <see cref="Stopwatch.GetTimestamp"/>.</param>
    /// <param name="entries">The mappings.</param>
    /// <param name="flags">Their flags.</param>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void Remember(int pid, long readAt, List<MapsEntry> entries, List<string> flags)
    {
        foreach (var (other, reading) in _readings)
            if (Stopwatch.GetElapsedTime(reading.ReadAt) >= Limit) _readings.Remove(other);
        _readings[pid] = new Reading(readAt, StartTimeOf(pid), [.. entries], [.. flags]);
    }

    private static ulong StartTimeOf(int pid) => StatLine.Parse(TaskFile.ReadBytes($"/proc/{pid}/stat")).StartTime;

    private sealed record Reading(long ReadAt, ulong StartTimeTicks, MapsEntry[] Entries, string[] Flags);
}

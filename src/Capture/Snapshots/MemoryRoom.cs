using System.Globalization;
using Crstore.Linux;

namespace Crstore.Capture.Snapshots;

/// <summary>
/// What there is left for copies of pages: the less, the sooner the target, or others, would be killed for a snapshot's sake.
/// </summary>
/// <param name="FreeBytes">Free or reclaimable, of the machine or of the control group of the process, whichever has less.</param>
/// <param name="TotalBytes">Of the same.</param>
/// <param name="CommitBytes">What may still be promised, if the machine promises no more than it has (vm.overcommit_memory = 2); else <see cref="long.MaxValue"/>.</param>
/// <param name="StalledUs">How long all tasks have waited for memory since the boot (PSI), microseconds.</param>
public readonly record struct MemoryRoom(long FreeBytes, long TotalBytes, long CommitBytes, long StalledUs)
{
    private const long Least = 64L << 20;
    private const long ShareKept = 32, ShareWritten = 4, PageTableShare = 512;

    /// <summary>What has to stay free.</summary>
    public long KeptBytes => Math.Max(Least, TotalBytes / ShareKept);

    /// <summary>Too little is left: the snapshot is to be given up.</summary>
    public bool IsShort => FreeBytes < KeptBytes;

    /// <summary>As it is for a process now.</summary>
    public static MemoryRoom Read(int pid)
    {
        var meminfo = TaskFile.ReadText("/proc/meminfo");
        var room = new MemoryRoom(Kibibytes(meminfo, "MemAvailable:"), Kibibytes(meminfo, "MemTotal:"), long.MaxValue, StallOf(TaskFile.TryReadText("/proc/pressure/memory")));
        if (TaskFile.TryReadText("/proc/sys/vm/overcommit_memory")?.Trim() == "2") room = room with { CommitBytes = Kibibytes(meminfo, "CommitLimit:") - Kibibytes(meminfo, "Committed_AS:") };
        foreach (var (limit, file) in new[] { ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes") })
        {
            foreach (var (most, used, path) in ControlGroup.Levels(pid, "memory", limit, file))
            {
                if (most >= room.TotalBytes) continue; // none, in version 1
                var free = most - used + ControlGroup.Named(path + "/memory.stat", "inactive_file");
                if (free - Math.Max(Least, most / ShareKept) < room.FreeBytes - room.KeptBytes) room = room with { FreeBytes = free, TotalBytes = most };
            }
        }

        return room;
    }

    /// <summary>Before a snapshot of so much memory; empty if there is enough.</summary>
    public static string WhyTooLittle(in MemoryRoom room, long populatedBytes)
    {
        if (room.CommitBytes < populatedBytes + populatedBytes / PageTableShare) return "the machine promises no more memory (vm.overcommit_memory)";
        var free = room.FreeBytes - room.KeptBytes - populatedBytes / PageTableShare;
        return free >= populatedBytes / ShareWritten ? "" : "there is too little free memory for what it may write meanwhile";
    }

    /// <summary>total= of the line "full" of /proc/pressure/memory; 0 without.</summary>
    public static long StallOf(string? pressure)
    {
        const string total = "total=";
        foreach (var line in (pressure ?? "").Split('\n'))
            if (line.StartsWith("full ", StringComparison.Ordinal) && line.IndexOf(total, StringComparison.Ordinal) is >= 0 and var at)
                return long.Parse(line.AsSpan(at + total.Length), CultureInfo.InvariantCulture);
        return 0;
    }

    private static long Kibibytes(string meminfo, string name)
    {
        var at = meminfo.IndexOf(name, StringComparison.Ordinal);
        if (at < 0) throw new InvalidDataException($"/proc/meminfo has no {name}");
        var line = meminfo.AsSpan(at + name.Length);
        return long.Parse(line[..line.IndexOf('k')].Trim(), CultureInfo.InvariantCulture) * 1024;
    }
}

using System.Globalization;

namespace Crstore.Linux;

/// <summary>The few fields of /proc/PID/stat (or of a thread) that freezing needs, read in one go, proc(5); null where it is gone.</summary>
/// <param name="Name">comm.</param>
/// <param name="State">R, S, D, Z, T, t, X, I.</param>
/// <param name="ParentPid">Parent.</param>
/// <param name="IsKernelThread">PF_KTHREAD.</param>
/// <param name="IsExiting">PF_EXITING: on its way out. Its memory may be gone already.</param>
/// <param name="ThreadCount">Threads of the process, a zombie leader included.</param>
public sealed record TaskStat(string Name, char State, int ParentPid, bool IsKernelThread, bool IsExiting, int ThreadCount)
{
    private const uint PfExiting = 0x00000004, PfKthread = 0x00200000; // linux/sched.h

    /// <summary>Exited and only waiting to be reaped.</summary>
    public bool IsDead => State is 'Z' or 'X' or 'x';

    /// <summary>Of a process (its leader); null if it is gone.</summary>
    public static TaskStat? Read(int pid) => Parse(TaskFile.TryReadText($"/proc/{pid}/stat"));

    /// <summary>Of a thread; null if it is gone.</summary>
    public static TaskStat? Read(int pid, int tid) => Parse(TaskFile.TryReadText($"/proc/{pid}/task/{tid}/stat"));

    /// <summary>Resident memory of a process that is neither a file's nor shared memory (statm), in bytes; 0 if it is gone.</summary>
    public static long PrivateBytes(int pid)
    {
        if (TaskFile.TryReadText($"/proc/{pid}/statm") is not { } text) return 0;
        var fields = text.Split(' '); // size resident shared ..., in pages
        return (long.Parse(fields[1], CultureInfo.InvariantCulture) - long.Parse(fields[2], CultureInfo.InvariantCulture)) * Environment.SystemPageSize;
    }

    /// <summary>Parses the line; null stays null. The name may hold blanks and parentheses: it ends at the last one.</summary>
    public static TaskStat? Parse(string? line)
    {
        if (line is null) return null;
        int open = line.IndexOf('('), close = line.LastIndexOf(')');
        if (open < 0 || close < open) throw new FormatException($"not a stat line: {line}");
        var fields = line[(close + 2)..].TrimEnd().Split(' '); // [0] is field 3
        var flags = uint.Parse(fields[6], CultureInfo.InvariantCulture);
        return new TaskStat(line[(open + 1)..close], fields[0][0], Int(1), (flags & PfKthread) != 0, (flags & PfExiting) != 0, Int(17));

        int Int(int i) => int.Parse(fields[i], CultureInfo.InvariantCulture);
    }
}

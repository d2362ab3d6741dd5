namespace Crstore.Linux.Proc;

/// <summary>VmLck of /proc/PID/status, proc_pid_status(5): what mlock(2) holds. A reading of one line, for the freeze.</summary>
public static class LockedMemory
{
    /// <summary>KiB of it; 0 if there is no such line.</summary>
    public static ulong KiB(ReadOnlySpan<byte> status)
    {
        var name = "\nVmLck:"u8;
        var at = status.IndexOf(name);
        if (at < 0) return 0;
        var amount = 0UL;
        foreach (var letter in status[(at + name.Length)..])
        {
            if (letter == '\n') break;
            if (letter is >= (byte)'0' and <= (byte)'9') amount = amount * 10 + (ulong)(letter - '0');
        }

        return amount;
    }
}

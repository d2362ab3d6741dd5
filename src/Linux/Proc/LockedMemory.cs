namespace Crstore.Linux.Proc;

/// <summary>VmLck of /proc/PID/status, proc_pid_status(5): what mlock(2) holds.</summary>
public static class LockedMemory
{
    /// <summary>KiB of it; 0 if there is no such line.</summary>
    public static ulong KiB(ReadOnlySpan<byte> status) => StatusNumber.Decimal(status, "\nVmLck:"u8);
}

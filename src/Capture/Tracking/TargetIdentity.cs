using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;

namespace Crstore.Capture.Tracking;

/// <summary>Which process this is: pid and start time, and the 16 random bytes that the kernel gave this exec.</summary>
/// <param name="Pid">Process.</param>
/// <param name="StartTimeTicks">/proc/PID/stat field 22.</param>
/// <param name="Uid">Real uid of its owner.</param>
/// <param name="AtRandom">The bytes at AT_RANDOM, getauxval(3); empty if they can't be read.</param>
public sealed record TargetIdentity(int Pid, ulong StartTimeTicks, uint Uid, byte[] AtRandom)
{
    /// <summary>Reads it. Cheap enough for the freeze, where it is read again: the target may have called execve since.</summary>
    /// <exception cref="LinuxException">The process is gone, or may not be looked at.</exception>
    public static TargetIdentity Read(int pid)
    {
        var stat = StatLine.Parse(TaskFile.ReadBytes($"/proc/{pid}/stat"));
        var uid = TaskStatusFile.Read(pid)?.Uids[0] ?? throw new LinuxException("open", Errno.ESRCH, $"/proc/{pid}/status");
        return new TargetIdentity(pid, stat.StartTime, uid, ReadAtRandom(pid));
    }

    /// <summary>True if start time and exec are still the same.</summary>
    public bool IsStillThere()
    {
        var stat = StatLine.Parse(TaskFile.ReadBytes($"/proc/{Pid}/stat"));
        return stat.StartTime == StartTimeTicks && ReadAtRandom(Pid).AsSpan().SequenceEqual(AtRandom);
    }

    private static byte[] ReadAtRandom(int pid)
    {
        if (AuxVector.Find(TaskFile.ReadBytes($"/proc/{pid}/auxv"), AuxVector.AtRandom) is not { } address) return [];
        var bytes = new byte[16];
        return RemoteMemory.TryRead(pid, [new RemoteSpan(address, 16)], bytes) == 16 ? bytes : [];
    }
}

using System.Runtime.InteropServices;
using System.Text;

namespace Crstore.Linux;

/// <summary>What identifies this machine, kernel and boot.</summary>
public static partial class SystemInfo
{
    private const int ClockMonotonic = 1, ClockBoottime = 7; // clock_gettime(2)

    /// <summary>/proc/sys/kernel/random/boot_id: random, new at every boot.</summary>
    public static string BootId() => ReadLine("/proc/sys/kernel/random/boot_id");

    /// <summary>uname -r.</summary>
    public static string KernelRelease() => ReadLine("/proc/sys/kernel/osrelease");

    /// <summary>uname -v.</summary>
    public static string KernelVersion() => ReadLine("/proc/sys/kernel/version");

    /// <summary>uname -n.</summary>
    public static string HostName() => ReadLine("/proc/sys/kernel/hostname");

    /// <summary>"vendor model name" of the first CPU in /proc/cpuinfo; empty if it doesn't say.</summary>
    public static string CpuModel()
    {
        string vendor = "", model = "";
        foreach (var line in File.ReadLines("/proc/cpuinfo"))
        {
            if (line.Length == 0)
                break;
            var value = line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
            if (line.StartsWith("vendor_id", StringComparison.Ordinal))
                vendor = value;
            else if (line.StartsWith("model name", StringComparison.Ordinal))
                model = value;
        }
        return $"{vendor} {model}".Trim();
    }

    /// <summary>CLOCK_MONOTONIC, nanoseconds.</summary>
    public static ulong MonotonicNs() => Clock(ClockMonotonic);

    /// <summary>CLOCK_BOOTTIME: as monotonic, with the time spent suspended.</summary>
    public static ulong BoottimeNs() => Clock(ClockBoottime);

    private static string ReadLine(string path) => Encoding.UTF8.GetString(File.ReadAllBytes(path)).TrimEnd('\n');

    private static ulong Clock(int clock)
    {
        LinuxException.Check(ClockGetTime(clock, out var time), "clock_gettime");
        return ((ulong)time.Seconds * 1_000_000_000) + (ulong)time.Nanoseconds;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int ClockGetTime(int clock, out Timespec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct Timespec
    {
        internal long Seconds;
        internal long Nanoseconds;
    }
}

/// <summary>sched_getaffinity(2), sched_setaffinity(2).</summary>
public static partial class CpuAffinity
{
    private const long SchedSetAffinity = 203, SchedGetAffinity = 204; // system call numbers of x86-64
    private const int MaxBytes = 1024;         // 8192 CPUs, the most x86-64 can be built for

    /// <summary>A thread's CPU mask, little endian, as long as the kernel has it.</summary>
    /// <exception cref="LinuxException">ESRCH: gone.</exception>
    public static byte[] Get(int tid)
    {
        Span<byte> mask = stackalloc byte[MaxBytes];
        var length = LinuxException.Check(Syscall(SchedGetAffinity, tid, mask.Length, ref MemoryMarshal.GetReference(mask)), "sched_getaffinity", $"thread {tid}");
        return mask[..(int)length].ToArray();
    }

    /// <summary>Allows a thread these processors only; false if the kernel refuses, as it does a mask without any that is online and allowed.</summary>
    public static bool TrySet(int tid, ReadOnlySpan<byte> mask) => Syscall(SchedSetAffinity, tid, mask.Length, ref MemoryMarshal.GetReference(mask)) == 0;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long Syscall(long number, long pid, long size, ref byte mask);
}

using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model.Format;

namespace Crstore.Capture.State;

/// <summary>Settings of a process that /proc tells of, one file each. What it has to be asked for is <see cref="InjectedState"/>'s.</summary>
internal static class SettingsState
{
    private const int SmallFile = 64 * 1024, MapsLimit = 256 * 1024 * 1024;

    /// <summary>In the freeze.</summary>
    internal static void ReadFrozen(Process process, ProcDirectory proc)
    {
        if (OfferedSettings.MemoryMerge && KsmStat.IsTold && proc.TryRead("ksm_stat", SmallFile, out var text) == 0) process.MergesMemory = KsmStat.MergesAny(text) == true;
    }

    /// <summary>After the thaw: what only warns, and is a walk over all memory or can't change any more.</summary>
    internal static void Complete(Process process, ProcDirectory proc, StatusLines status)
    {
        process.MayBeLandlocked = status.NoNewPrivileges && OfferedSettings.Landlock;
        if (NumaMaps.SeveralNodes && proc.TryRead("numa_maps", MapsLimit, out var maps) == 0) process.MemoryPolicy = NumaMaps.FirstPolicy(maps);
    }
}

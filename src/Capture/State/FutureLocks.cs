using Crstore.Capture.Injection;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.State;

/// <summary>
/// mlockall(MCL_FUTURE): what a process maps from now on is locked, mlockall(2). Nobody can be asked for it. But the scratch page of the injection is
/// such a mapping, and the process's locked memory grows by it or not. On the ptrace thread, before anything is written to that page.
/// </summary>
internal static class FutureLocks
{
    private const int SmallFile = 64 * 1024;
    private const uint Future = 2, OnFault = 4; // MCL_FUTURE, MCL_ONFAULT

    /// <summary>Finds out.</summary>
    /// <param name="process">With its status as it was before the first injection.</param>
    /// <param name="proc">Its directory.</param>
    /// <param name="remote">That has no scratch page yet.</param>
    internal static void Find(Process process, ProcDirectory proc, IRemoteSyscalls remote)
    {
        var scratch = VirtualPage.Of(remote.ScratchAddress);
        if (proc.TryRead("status", SmallFile, out var now) != 0 || LockedMemory.KiB(now) <= LockedMemory.KiB(process.Status.Span)) return;
        // Nobody has touched it: it is in memory only if the kernel puts there what it locks.
        Span<ulong> entry = stackalloc ulong[1];
        using var pages = Pagemap.Open(process.Pid);
        pages.Read(scratch, entry);
        process.LocksFutureMemory = new PagemapEntry(entry[0]).Present ? Future : Future | OnFault;
    }
}

using Crstore.Linux;

namespace Crstore.Restore.Restart;

/// <summary>What has been said of a process's memory as a whole. On the ptrace thread.</summary>
internal static class MemorySettings
{
    /// <summary>After all is mapped, before single mappings are locked and advised.</summary>
    public static void Set(Restarted process)
    {
        var (puppet, message) = (process.Leader, process.Message);
        // Inherited: crstore may have been started with it.
        if (message.MergesMemory || OfferedSettings.MergesMemory)
            puppet.Queue("prctl(PR_SET_MEMORY_MERGE)", SystemCalls.Prctl, SystemCalls.PrSetMemoryMerge, message.MergesMemory ? 1 : 0, 0, 0, 0);
        // Without MCL_CURRENT: what is mapped is locked, or not, already.
        if (message.LocksFutureMemory != 0) puppet.Queue("mlockall", SystemCalls.MlockAll, message.LocksFutureMemory);
        puppet.Flush();
    }

    /// <summary>After all is mapped for good, and protected: it can't be taken back.</summary>
    public static void SetLast(Restarted process)
    {
        if (process.Message.DenyWriteExecute != 0)
            process.Leader.Queue("prctl(PR_SET_MDWE)", SystemCalls.Prctl, SystemCalls.PrSetMdwe, process.Message.DenyWriteExecute, 0, 0, 0);
        process.Leader.Flush();
    }
}

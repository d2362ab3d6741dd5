using Crstore.Capture;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>One line of `doctor`.</summary>
/// <param name="Name">What was looked at.</param>
/// <param name="Verdict">"works", "no", or a value.</param>
/// <param name="Detail">Why, and what to do.</param>
internal sealed record HostCheck(string Name, string Verdict, string Detail);

/// <summary>What `doctor` says of the machine and the user. The trials themselves are made in the rooms they belong to.</summary>
internal static class HostChecks
{
    // linux/capability.h
    private static readonly (int Bit, string Name, string Need)[] Capabilities =
    [
        (19, "CAP_SYS_PTRACE", "to capture other users' processes"),
        (21, "CAP_SYS_ADMIN", "to see page frames: soft-dirty without PAGEMAP_SCAN needs it"),
    ];

    /// <summary>All checks, in the order they are shown.</summary>
    public static IEnumerable<HostCheck> All(Func<string> storeDirectory) =>
    [
        new("crstore", ProductVersion.Text, ""),
        new("kernel", SystemInfo.KernelRelease(), ""),
        Store(storeDirectory),
        .. Trials(),
        .. Privileges(),
        Library("RocksDB", () => NativeVersions.RocksDb),
        Library("zstd", () => NativeVersions.Zstd),
    ];

    private static HostCheck Store(Func<string> location)
    {
        try
        {
            var directory = location();
            if (!Directory.Exists(directory)) return new("store", "not yet", $"{directory}: the first capture creates it");
            using var store = CheckpointStore.Open(new StoreOptions(directory));
            using var reader = store.OpenReader();
            return new("store", "opens", $"{directory}: {Units.Count((ulong)reader.Headers().Count(), "checkpoint")}");
        }
        catch (CrstoreException error)
        {
            return new("store", "no", error.Hint is { } hint ? $"{error.Message}; {hint}" : error.Message);
        }
    }

    private static IEnumerable<HostCheck> Trials()
    {
        var child = ChildTrial.Run();
        var kernel = KernelProbes.Current;
        return
        [
            Trial("ptrace", child.PtraceProblem.Length == 0, child.PtraceProblem, "a child was seized, stopped and let go"),
            Trial("process_vm_readv", child.ReadProblem.Length == 0, child.ReadProblem, "a child's memory was read"),
            Trial("soft-dirty", kernel.SoftDirty, kernel.SoftDirtyReason, "a write set the bit that was cleared"),
            Trial("PAGEMAP_SCAN", kernel.PagemapScan, kernel.PagemapScanReason, $"categories: {kernel.PagemapScanCategories}"),
            Trial("uffd write-protect", kernel.UffdWriteProtect, kernel.UffdReason, "a write to a protected page was reported"),
            Trial("zero pages told apart", kernel.ZeroPageTellable, "frame numbers are hidden without CAP_SYS_ADMIN, and there is no PAGEMAP_SCAN", ""),
        ];
    }

    private static IEnumerable<HostCheck> Privileges()
    {
        var status = TaskStatusFile.Read(Environment.ProcessId);
        var effective = status?.Capabilities("CapEff") ?? 0;
        yield return new("user", Environment.IsPrivilegedProcess ? "root" : Environment.UserName, $"uid {status?.Uids[1]}");
        foreach (var (bit, name, need) in Capabilities)
            yield return new(name, (effective >> bit & 1) != 0 ? "has" : "has not", need);
        yield return Setting("yama ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope", "not built in: no limit",
            "0: any process of one's own; 1: descendants only, else CAP_SYS_PTRACE; 2: CAP_SYS_PTRACE; 3: nobody");
        yield return Setting("unprivileged_userfaultfd", "/proc/sys/vm/unprivileged_userfaultfd", "no userfaultfd in this kernel",
            "0 is enough: crstore asks for user-mode faults only");
    }

    private static HostCheck Setting(string name, string path, string absent, string meaning) =>
        TaskFile.TryReadText(path) is { } text ? new(name, text.Trim(), meaning) : new(name, "none", absent);

    private static HostCheck Trial(string name, bool works, string problem, string success) =>
        new(name, works ? "works" : "no", works ? success : problem);

    private static HostCheck Library(string name, Func<string> version)
    {
        try
        {
            return new(name, version(), "");
        }
        catch (EnvironmentException error)
        {
            return new(name, "no", $"{error.Message}; {error.Hint}");
        }
    }
}

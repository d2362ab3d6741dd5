using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Memory: what is mapped, and whether it can be mapped again.</summary>
public sealed class Mappings : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "mapping";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "private and shared anonymous memory, memfds, deleted files; files that are unchanged; a Java virtual machine's counters (hsperfdata); stacks, mlock, mseal, madvise flags, the vDSO of the same kernel",
        "files that have changed or are gone, if the capture had --embed-files (private mappings)",
        "changed or missing files; device memory; huge TLB pages; protection keys; shadow stacks; rings of io_uring and perf; System V shared memory; AIO rings; what a capture excluded");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process) => process.Vmas.Select(v => NameOf(v, process));

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        foreach (var exclusion in scene.Body.Exclusions.Where(e => e.Pid == process.Pid))
            yield return new ObjectVerdict(Name, $"memory at {exclusion.Start:x} of process {process.Pid}", Verdict.Refused($"it was not captured: {exclusion.Reason}"));
        foreach (var vma in process.Vmas)
        {
            if (Judge(vma, scene) is { } verdict)
                yield return new ObjectVerdict(Name, NameOf(vma, process), verdict);
        }
    }

    /// <summary>The kernel's own mappings, which are the same in every process but for their place.</summary>
    public static bool IsKernels(Vma vma) => vma.Name is "[vdso]" or "[vsyscall]" || vma.Name.StartsWith("[vvar", StringComparison.Ordinal);

    /// <summary>Tables that the name service cache daemon shares with every process. Zeros in their place tell libc that it is gone, and it asks anew.</summary>
    public static bool IsNameServiceCache(Vma vma) => vma.Shared && vma.Name.Contains("/nscd/", StringComparison.Ordinal);

    /// <summary>
    /// Counters that a Java virtual machine shows to jps and jstat: /tmp/hsperfdata_USER/PID. The file goes when the machine ends, and its counters are the
    /// machine's own: what the checkpoint has of them stands for it, with or without a file.
    /// </summary>
    public static bool IsPerformanceData(Vma vma) => vma.Shared && vma.Content == VmaContent.Saved
        && Path.GetFileName(Path.GetDirectoryName(vma.Backing?.Path) ?? "").StartsWith("hsperfdata_", StringComparison.Ordinal)
        && Path.GetFileName(vma.Backing!.Path) is { Length: > 0 } name && name.All(char.IsAsciiDigit);

    private static string NameOf(Vma vma, Process process) => $"{vma.Start:x}-{vma.End:x} {vma.Name} of process {process.Pid}";

    // A shared mapping shows what is in the file now; of a tmpfs (/dev/shm) what the checkpoint has is written back.
    private static Verdict? JudgeShared(FileRef file, RestartScene scene)
    {
        if (FileStatus.TryOf(file.Path, out var now) != 0 || now.Dev != file.Dev || now.Inode != file.Inode) return Verdict.Refused($"{file.Path}, which it shares, is not the same file any more");
        if (RawFile.FileSystemType(file.Path) == RawFile.TmpfsMagic)
            return scene.NewPids ? Verdict.Refused($"{file.Path} may be in use: a copy with --new-pids would write into it") : null;
        if (now.SizeBytes == file.SizeBytes && now.MtimeNs == file.MtimeNs) return null;
        var how = $"{file.Path}, which it shares, has changed since the capture";
        return scene.ChangedFiles == FilesPolicy.MustMatch ? Verdict.Refused(how + "; --files warn takes it as it is") : Verdict.Policy(RestartScene.FilesFlag, how);
    }

    private static Verdict? Judge(Vma vma, RestartScene scene)
    {
        if (IsKernels(vma)) return null;
        var flags = vma.VmFlags.Split(' ');
        if (flags.Contains("ht")) return Verdict.Refused("huge TLB pages");
        if (flags.Contains("ss")) return Verdict.Refused("a shadow stack");
        if (flags.Any(f => f.StartsWith("pk=", StringComparison.Ordinal))) return Verdict.Refused("a protection key (pkey_mprotect)");
        if (vma.Name.StartsWith("anon_inode:", StringComparison.Ordinal)) return Verdict.Refused("memory that it shares with the kernel");
        if (vma.Name.StartsWith("/SYSV", StringComparison.Ordinal)) return Verdict.Refused("System V shared memory");
        if (vma.Name.StartsWith("/[aio]", StringComparison.Ordinal)) return Verdict.Refused("an AIO context");
        if (vma.Content == VmaContent.NotCaptured) return Verdict.Refused($"it was not captured: {vma.NotCapturedReason}");
        if (IsNameServiceCache(vma) || IsPerformanceData(vma)) return null;
        if (vma.Shared && vma.Backing is { Deleted: false, Inode: not 0 } file && !scene.JustCaptured) return JudgeShared(file, scene);
        if (vma.Content != VmaContent.FileBacked || vma.Backing is null || (scene.JustCaptured && !vma.Backing.Deleted) || scene.MappedFiles.Open(vma.Backing) is not null) return null;
        var why = $"{vma.Backing.Path} {scene.MappedFiles.WhyNot(vma.Backing)}";
        return vma is { Embedded: true, Shared: false } ? Verdict.Policy("capture --embed-files", why) : Verdict.Refused(why);
    }
}

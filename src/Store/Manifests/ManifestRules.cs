using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;

namespace Crstore.Store.Manifests;

/// <summary>What a manifest must be beyond well-formed protobuf. The same rules hold at writing and at reading.</summary>
internal static class ManifestRules
{
    /// <summary>The first rule that a header breaks; null if it is sound.</summary>
    internal static string? Check(CheckpointHeader header, FormatLimits limits)
    {
        if (header.Crid == 0) return "it has no CRID";
        if (header.ParentCrid == header.Crid) return "it is its own parent";
        if (header.Series.Length > limits.MaxSeriesChars) return $"a series name of {header.Series.Length} characters";
        return Text(header.Command, "command", limits);
    }

    /// <summary>The first rule that a body breaks; null if it is sound.</summary>
    internal static string? Check(CheckpointBody body, FormatLimits limits)
    {
        if (body.Crid == 0) return "it has no CRID";
        if (Count(body.Processes.Count, limits.MaxProcesses, "processes") is { } many) return many;
        if (body.Proofs.Count > limits.MaxProcesses) return $"{body.Proofs.Count} tracker proofs";
        if (body.Warnings.Count > limits.MaxNotes || body.Exclusions.Count > limits.MaxNotes || body.Phases.Count > limits.MaxNotes)
            return "more warnings, exclusions or phases than there can be";
        foreach (var warning in body.Warnings)
            if (Text(warning, "warning", limits) is { } reason) return reason;
        foreach (var exclusion in body.Exclusions)
            if (Text(exclusion.Reason, "exclusion", limits) is { } reason) return reason;
        foreach (var proof in body.Proofs)
            if ((Text(proof.Reason, "proof", limits) ?? Blob(proof.GenerationToken, "token", limits)) is { } reason) return reason;

        var spaces = new HashSet<uint>();
        foreach (var process in body.Processes)
        {
            if (!process.Zombie && !spaces.Add(process.Space)) return $"two processes with address space {process.Space}";
            if (Check(process, limits) is { } reason) return $"process {process.Pid}: {reason}";
        }

        return null;
    }

    private static string? Check(Process process, FormatLimits limits)
    {
        var reason = Count(process.Threads.Count, limits.MaxThreads, "threads")
            ?? Count(process.Vmas.Count, limits.MaxVmas, "VMAs")
            ?? Count(process.Fds.Count, limits.MaxFds, "file descriptors")
            ?? Count(process.Actions.Count, limits.MaxSmallList, "signal actions")
            ?? Count(process.Rlimits.Count, limits.MaxSmallList, "rlimits")
            ?? Count(process.Namespaces.Count, limits.MaxSmallList, "namespaces")
            ?? Count(process.Credentials?.Groups.Count ?? 0, limits.MaxSmallList, "groups")
            ?? Text(process.Comm, "comm", limits) ?? Text(process.Exe, "exe", limits)
            ?? Text(process.Cwd, "cwd", limits) ?? Text(process.Root, "root", limits)
            ?? Text(process.StateIncomplete, "reason", limits)
            ?? Blob(process.Cmdline, "cmdline", limits) ?? Blob(process.Environ, "environ", limits)
            ?? Blob(process.Auxv, "auxv", limits) ?? Blob(process.Stat, "stat", limits)
            ?? Blob(process.Status, "status", limits) ?? Blob(process.SharedPending, "pending signals", limits)
            ?? Blob(process.Timers, "timers", limits);
        if (reason is not null) return reason;
        foreach (var thread in process.Threads)
        {
            reason = Text(thread.Name, "thread name", limits) ?? Text(thread.Syscall, "syscall", limits)
                ?? Blob(thread.Registers, "registers", limits) ?? Blob(thread.Xstate, "XSTATE", limits)
                ?? Blob(thread.Pending, "pending signals", limits) ?? Blob(thread.CpuAffinity, "affinity", limits);
            if (reason is not null) return $"thread {thread.Tid}: {reason}";
        }

        foreach (var fd in process.Fds)
            if ((Text(fd.Link, "link", limits) ?? Blob(fd.Fdinfo, "fdinfo", limits)) is { } wrong) return $"fd {fd.Number}: {wrong}";
        return Vmas(process, limits);
    }

    private static string? Vmas(Process process, FormatLimits limits)
    {
        ulong end = 0;
        foreach (var vma in process.Vmas)
        {
            if (vma.Start >= vma.End || vma.Start % VirtualPage.Size != 0 || vma.End % VirtualPage.Size != 0)
                return $"a VMA from 0x{vma.Start:x} to 0x{vma.End:x}";
            if (vma.Start < end) return $"VMA 0x{vma.Start:x} begins before the one in front of it ends";
            var reason = Text(vma.Name, "name", limits) ?? Text(vma.VmFlags, "flags", limits)
                ?? Text(vma.NotCapturedReason, "reason", limits) ?? Text(vma.Backing?.Path ?? "", "path", limits);
            if (reason is not null) return $"VMA 0x{vma.Start:x}: {reason}";
            end = vma.End;
        }

        return null;
    }

    private static string? Count(int count, int limit, string what) => count <= limit ? null : $"{count} {what}";

    private static string? Text(string text, string what, FormatLimits limits) =>
        text.Length <= limits.MaxStringChars ? null : $"a {what} of {text.Length} characters";

    private static string? Blob(ByteString bytes, string what, FormatLimits limits) =>
        bytes.Length <= limits.MaxBlobBytes ? null : $"{what} of {bytes.Length} bytes";
}

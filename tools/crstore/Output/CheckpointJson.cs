using System.Text;
using System.Text.Json;
using Crstore.Model.Format;

namespace Crstore.Cli;

/// <summary>JSON members of the manifest's messages, shared by the verbs.</summary>
internal static class CheckpointJson
{
    /// <summary>A header's members; the object is the caller's.</summary>
    /// <param name="json">Where to.</param>
    /// <param name="header">It.</param>
    /// <param name="inMemory">The checkpoint is in memory only.</param>
    public static void Header(Utf8JsonWriter json, CheckpointHeader header, bool inMemory)
    {
        json.WriteNumber("crid", header.Crid);
        if (header.ParentCrid == 0) json.WriteNull("parent_crid");
        else json.WriteNumber("parent_crid", header.ParentCrid);
        json.WriteString("series", header.Series);
        json.WriteString("kind", Units.Name(header.Kind));
        json.WriteString("tracker", Units.Name(header.Tracker));
        json.WriteString("captured_at", Units.Instant(header.CapturedUnixNs).ToString("O"));
        json.WriteNumber("captured_unix_ns", header.CapturedUnixNs);
        json.WriteNumber("pid", header.RootPid);
        json.WriteString("command", header.Command);
        json.WriteNumber("processes", header.Processes);
        json.WriteNumber("threads", header.Threads);
        json.WriteBoolean("tree", header.Tree);
        Pages(json, header.Pages ?? new PageCounters());
        json.WriteNumber("frozen_ns", header.FrozenNs);
        json.WriteNumber("total_ns", header.TotalNs);
        json.WriteNumber("bytes_stored", header.BytesStored);
        json.WriteNumber("warning_count", header.Warnings);
        json.WriteBoolean("incomplete", header.Incomplete);
        json.WriteBoolean("in_memory", inMemory);
    }

    private static void Pages(Utf8JsonWriter json, PageCounters pages)
    {
        json.WriteStartObject("pages");
        json.WriteNumber("logical", pages.Logical);
        json.WriteNumber("scanned", pages.Scanned);
        json.WriteNumber("dirty", pages.Dirty);
        json.WriteNumber("changed", pages.Changed);
        json.WriteNumber("zero", pages.Zero);
        json.WriteNumber("new", pages.Fresh);
        json.WriteNumber("sampled", pages.Sampled);
        json.WriteNumber("lies", pages.Lies);
        json.WriteEndObject();
    }

    /// <summary>What took how long. A capture that is just over tells more of its end than what is stored of it.</summary>
    public static void Phases(Utf8JsonWriter json, CheckpointBody body) => json.Objects("phases", body.Phases, static (writer, phase) =>
    {
        writer.WriteString("name", phase.Name);
        writer.WriteNumber("duration_ns", phase.DurationNs);
        writer.WriteBoolean("frozen", phase.Frozen);
    });

    /// <summary>A body's members.</summary>
    public static void Body(Utf8JsonWriter json, CheckpointBody body)
    {
        if (body.Host is { } host) Host(json, host);
        Phases(json, body);
        json.Objects("tracking", body.Proofs, static (writer, proof) =>
        {
            writer.WriteNumber("pid", proof.Pid);
            writer.WriteString("tracker", Units.Name(proof.Tracker));
            writer.WriteBoolean("continuous", proof.Continuous);
            writer.WriteString("reason", proof.Reason);
        });
        json.Objects("exclusions", body.Exclusions, static (writer, exclusion) =>
        {
            writer.WriteNumber("pid", exclusion.Pid);
            writer.Address("start", exclusion.Start);
            writer.Address("end", exclusion.Start + exclusion.SizeBytes);
            writer.WriteString("reason", exclusion.Reason);
        });
        json.Strings("warnings", body.Warnings);
        json.Objects("process_list", body.Processes, Process);
    }

    private static void Host(Utf8JsonWriter json, Host host)
    {
        json.WriteStartObject("host");
        json.WriteString("hostname", host.Hostname);
        json.WriteString("boot_id", host.BootId);
        json.WriteString("kernel_release", host.KernelRelease);
        json.WriteString("kernel_version", host.KernelVersion);
        json.WriteString("cpu", host.CpuVendorModel);
        json.WriteString("crstore_version", host.CrstoreVersion);
        json.WriteEndObject();
    }

    private static void Process(Utf8JsonWriter json, Process process)
    {
        json.WriteNumber("pid", process.Pid);
        json.WriteNumber("ppid", process.Ppid);
        json.WriteNumber("pgid", process.Pgid);
        json.WriteNumber("sid", process.Sid);
        json.WriteNumber("start_time_ticks", process.StartTimeTicks);
        json.WriteString("comm", process.Comm);
        json.WriteString("exe", process.Exe);
        json.Strings("cmdline", CommandLine(process));
        json.WriteString("cwd", process.Cwd);
        json.WriteBoolean("was_stopped", process.WasStopped);
        json.WriteBoolean("zombie", process.Zombie);
        json.WriteString("state_incomplete", process.StateIncomplete);
        json.Objects("threads", process.Threads, Thread);
        json.Objects("vmas", process.Vmas, Vma);
        json.Objects("fds", process.Fds, static (writer, fd) =>
        {
            writer.WriteNumber("fd", fd.Number);
            writer.WriteString("link", fd.Link);
            writer.WriteString("mode", Convert.ToString(fd.Mode, 8));
            writer.WriteNumber("inode", fd.Inode);
            writer.WriteNumber("size_bytes", fd.SizeBytes);
        });
    }

    private static void Thread(Utf8JsonWriter json, Crstore.Model.Format.Thread thread)
    {
        json.WriteNumber("tid", thread.Tid);
        json.WriteString("name", thread.Name);
        json.WriteString("syscall", thread.Syscall);
        json.Address("sigmask", thread.Sigmask);
        json.WriteBoolean("group_stopped", thread.GroupStopped);
    }

    private static void Vma(Utf8JsonWriter json, Vma vma)
    {
        json.Address("start", vma.Start);
        json.Address("end", vma.End);
        json.WriteString("protection", Units.Protection(vma));
        json.WriteString("name", vma.Name);
        json.WriteNumber("offset_bytes", vma.OffsetBytes);
        json.WriteString("vm_flags", vma.VmFlags);
        json.WriteString("content", Units.Name(vma.Content));
        json.WriteBoolean("tracked", vma.Tracked);
        json.WriteString("not_captured_reason", vma.NotCapturedReason);
    }

    /// <summary>The arguments, as they were given.</summary>
    public static IEnumerable<string> CommandLine(Process process)
    {
        var bytes = process.Cmdline.Span;
        return bytes.IsEmpty ? [] : Encoding.UTF8.GetString(bytes).TrimEnd('\0').Split('\0');
    }
}

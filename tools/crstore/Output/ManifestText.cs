using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Cli;

/// <summary>A manifest for people: what `show` prints.</summary>
internal sealed class ManifestText(TextWriter output)
{
    /// <summary>Writes all of it.</summary>
    public void Write(CheckpointManifest manifest, bool inMemory)
    {
        Header(manifest.Header, manifest.Body.Host, inMemory);
        Phases(manifest.Body);
        Proofs(manifest.Body);
        foreach (var process in manifest.Body.Processes) Process(process);
        Exclusions(manifest.Body);
        if (manifest.Body.Warnings.Count > 0) Title("Warnings");
        foreach (var warning in manifest.Body.Warnings) Line($"  {warning}");
    }

    private void Header(CheckpointHeader header, Host? host, bool inMemory)
    {
        Line($"CRID {header.Crid}");
        Field("series", header.Series);
        Field("kind", header.ParentCrid == 0 ? "base" : $"increment of CRID {header.ParentCrid}");
        Field("captured", $"{Units.Time(Units.Instant(header.CapturedUnixNs))} on {host?.Hostname} ({host?.KernelRelease})");
        Field("target", $"{header.Command}, pid {header.RootPid}, {Count(header.Processes, "process", "processes")}, " +
            $"{Count(header.Threads, "thread", "threads")}{(header.Tree ? ", whole tree" : "")}");
        Field("tracker", Units.Name(header.Tracker));
        Field("frozen", $"{Units.Milliseconds(header.FrozenNs)} ms of {Units.Milliseconds(header.TotalNs)} ms in all");
        Field("stored", Units.Bytes(header.BytesStored) + (inMemory ? ", in memory only: `crstore commit` makes it durable" : ""));
        if (header.Incomplete) Field("incomplete", "yes: see exclusions");
        var pages = header.Pages ?? new PageCounters();
        Field("pages", $"{pages.Logical} logical ({Units.Pages(pages.Logical)}), {pages.Scanned} scanned, {pages.Dirty} dirty, " +
            $"{pages.Changed} changed, {pages.Zero} zero, {pages.Fresh} new");
        Field("sampled", $"{pages.Sampled} clean pages read again, {pages.Lies} were not clean");
        if (host is not null) Field("crstore", host.CrstoreVersion);
    }

    private void Phases(CheckpointBody body)
    {
        if (body.Phases.Count == 0) return;
        Title("Phases");
        var table = new TextTable("phase", "ms", "target").Right(1);
        foreach (var phase in body.Phases) table.Add(phase.Name, Units.Milliseconds(phase.DurationNs), phase.Frozen ? "frozen" : "running");
        Put(table);
    }

    private void Proofs(CheckpointBody body)
    {
        if (body.Proofs.Count == 0) return;
        Title("Tracking");
        var table = new TextTable("pid", "tracker", "continuous", "why").Right(0);
        foreach (var proof in body.Proofs) table.Add($"{proof.Pid}", Units.Name(proof.Tracker), proof.Continuous ? "yes" : "no", proof.Reason);
        Put(table);
    }

    private void Process(Process process)
    {
        Title($"Process {process.Pid} ({process.Comm})");
        Field("executable", process.Exe);
        Field("arguments", string.Join(' ', CheckpointJson.CommandLine(process)));
        Field("directory", process.Cwd);
        Field("ids", $"parent {process.Ppid}, group {process.Pgid}, session {process.Sid}, started at tick {process.StartTimeTicks}");
        if (process.WasStopped) Field("state", "stopped before the capture, and still");
        if (process.Zombie) Field("state", "exited, not yet reaped");
        if (process.StateIncomplete.Length > 0) Field("incomplete", process.StateIncomplete);

        Line($"  threads ({process.Threads.Count})");
        var threads = new TextTable("tid", "name", "blocked in").Right(0);
        foreach (var thread in process.Threads) threads.Add($"{thread.Tid}", thread.Name, thread.Syscall);
        Put(threads, "    ");

        Line($"  memory ({process.Vmas.Count} areas)");
        var vmas = new TextTable("start", "end", "prot", "size", "content", "tracked", "name").Right(3);
        foreach (var vma in process.Vmas)
        {
            vmas.Add($"0x{vma.Start:x}", $"0x{vma.End:x}", Units.Protection(vma), Units.Bytes(vma.End - vma.Start),
                Units.Name(vma.Content) + (vma.Embedded ? "+embedded" : ""), vma.Tracked ? "yes" : "no",
                vma.NotCapturedReason.Length == 0 ? vma.Name : $"{vma.Name}: {vma.NotCapturedReason.Replace(vma.Name + ": ", "")}");
        }
        Put(vmas, "    ");

        Line($"  file descriptors ({process.Fds.Count})");
        var fds = new TextTable("fd", "refers to").Right(0);
        foreach (var fd in process.Fds) fds.Add($"{fd.Number}", fd.Link);
        Put(fds, "    ");
    }

    private void Exclusions(CheckpointBody body)
    {
        if (body.Exclusions.Count == 0) return;
        Title("Left out");
        var table = new TextTable("pid", "start", "size", "why").Right(0, 2);
        foreach (var exclusion in body.Exclusions)
            table.Add($"{exclusion.Pid}", $"0x{exclusion.Start:x}", Units.Bytes(exclusion.SizeBytes), exclusion.Reason);
        Put(table);
    }

    private static string Count(uint count, string one, string many) => count == 1 ? $"1 {one}" : $"{count} {many}";

    private void Put(TextTable table, string indent = "  ") => table.Write(output, indent);

    private void Title(string text)
    {
        output.WriteLine();
        Line(text);
    }

    private void Field(string name, string value) => Line($"  {name,-11} {value}");

    private void Line(string text) => output.WriteLine(Printable.Of(text));
}

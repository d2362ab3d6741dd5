using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Memory;

namespace Crstore.Restore;

/// <summary>
/// An ELF core per process, as gdb opens them: PATH itself for a single process, else the directory PATH with a file
/// core.PID each. What of mapped files is in it: <see cref="CorePlan"/>.
/// </summary>
public sealed class CoreExporter : IExporter
{
    /// <inheritdoc/>
    public string Format => "core";

    /// <inheritdoc/>
    public ExportResult Export(ICheckpointImage image, ExportOptions options, IProgress<ulong>? bytesDone, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(options);
        var warnings = new List<string>();
        var processes = ExportTargets.Select(image, options.Pid, warnings);
        var single = processes.Count == 1 && (options.Pid is not null || image.Manifest.Body.Processes.Count == 1);
        using var files = new FileBackings();
        using var output = single ? PartialOutput.ForFile(options.Path, options.Force) : PartialOutput.ForDirectory(options.Path, options.Force);
        using var copier = new RunCopier(bytesDone, cancel);
        var written = new List<string>();
        foreach (var process in processes)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"core.{process.Pid}");
            WriteCore(image, new ProcessImage(image, process, files), single ? output.Path : Path.Combine(output.Path, name), copier, cancel);
            written.Add(single ? options.Path : Path.Combine(options.Path, name));
        }
        copier.Complete();
        files.CheckStillTheSame();
        output.Commit();
        return new ExportResult(written, copier.Bytes, [.. warnings, .. files.Warnings]);
    }

    private static void WriteCore(ICheckpointImage image, ProcessImage process, string path, RunCopier copier, CancellationToken cancel)
    {
        var segments = CorePlan.Plan(process, cancel);
        var notes = CoreNotes.Build(image.Manifest.Crid, process.Process);
        var notesOffset = ElfHeaders.Size(segments.Count);
        var dataOffset = (notesOffset + (ulong)notes.Length + VirtualPage.Size - 1) & ~(ulong)(VirtualPage.Size - 1);
        var file = copier.Create(path);
        file.Write(ElfHeaders.Build(segments, (ulong)notes.Length, dataOffset), 0);
        file.Write(notes, notesOffset);
        var offset = dataOffset;
        foreach (var segment in segments)
        {
            copier.Copy(process, segment.Vma, segment.Range with { Count = segment.FilePages }, file, offset);
            offset += segment.FilePages << VirtualPage.Shift;
        }
        copier.Finish(file, offset);
    }
}

/// <summary>Which processes of a checkpoint an export is about.</summary>
internal static class ExportTargets
{
    /// <summary>All, or the one asked for. Zombies have nothing to export: a warning each.</summary>
    internal static List<Process> Select(ICheckpointImage image, int? pid, List<string> warnings)
    {
        var crid = image.Manifest.Crid;
        var all = image.Manifest.Body.Processes;
        if (pid is { } wanted && all.All(p => p.Pid != wanted))
            throw new UsageException($"CRID {crid} has no process {wanted}", $"it has {string.Join(", ", all.Select(p => p.Pid))}");
        var chosen = new List<Process>();
        foreach (var process in all.Where(p => pid is null || p.Pid == pid))
        {
            if (process.Zombie)
                warnings.Add($"process {process.Pid} ({process.Comm}) had exited already when CRID {crid} was captured: there is nothing to restore of it");
            else
                chosen.Add(process);
        }
        if (chosen.Count == 0)
            throw new UsageException($"CRID {crid} holds no living process to restore", string.Join("; ", warnings));
        return chosen;
    }
}

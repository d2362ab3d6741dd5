using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Memory;

namespace Crstore.Restore;

/// <summary>
/// The directory PATH with `map.json` (<see cref="RawMap"/>) and, per process, a directory PID with one sparse file per
/// VMA, named START-END in hexadecimal. The byte at offset n of a file is the byte at address START + n; pages that are
/// missing are holes there and "missing" in the map. File pages are included as far as their files are unchanged.
/// </summary>
public sealed class RawExporter : IExporter
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <inheritdoc/>
    public string Format => "raw";

    /// <inheritdoc/>
    public ExportResult Export(ICheckpointImage image, ExportOptions options, IProgress<ulong>? bytesDone, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(options);
        var warnings = new List<string>();
        var processes = ExportTargets.Select(image, options.Pid, warnings);
        using var files = new FileBackings();
        using var output = PartialOutput.ForDirectory(options.Path, options.Force);
        using var copier = new RunCopier(bytesDone, cancel);
        var written = new List<string>();
        var images = processes.ConvertAll(p => new ProcessImage(image, p, files));
        foreach (var process in images)
        {
            var name = process.Process.Pid.ToString(CultureInfo.InvariantCulture);
            var directory = Path.Combine(output.Path, name);
            Refusals.Guard("create", directory, () => Directory.CreateDirectory(directory, OwnerOnly));
            foreach (var vma in process.Process.Vmas)
            {
                WriteVma(process, vma, Path.Combine(directory, NameOf(vma)), copier);
                written.Add(Path.Combine(options.Path, name, NameOf(vma)));
            }
        }
        copier.Complete();
        RawMap.Write(Path.Combine(output.Path, RawMap.FileName), image.Manifest, images, cancel);
        written.Add(Path.Combine(options.Path, RawMap.FileName));
        files.CheckStillTheSame();
        output.Commit();
        return new ExportResult(written, copier.Bytes, [.. warnings, .. files.Warnings]);
    }

    /// <summary>A VMA's file name.</summary>
    internal static string NameOf(Vma vma) => string.Create(CultureInfo.InvariantCulture, $"{vma.Start:x}-{vma.End:x}");

    private static void WriteVma(ProcessImage process, Vma vma, string path, RunCopier copier)
    {
        var range = ProcessImage.RangeOf(vma);
        var file = copier.Create(path);
        copier.Copy(process, vma, range, file, 0);
        ulong contentEnd = 0;
        foreach (var run in process.Runs(vma))
        {
            if (run.Content == ImageContent.Missing)
                process.NoteMissing(vma, run.Range);
            else if (run.Content != ImageContent.Zero)
                contentEnd = run.Range.End.Address - vma.Start;
        }
        // A reservation of many terabytes exceeds what file systems allow, even for a hole: cut behind the content.
        copier.Finish(file, range.SizeBytes <= SizeLimits.WholeHoleBytes ? range.SizeBytes : contentEnd);
    }
}

/// <summary>Limits of output files.</summary>
internal static class SizeLimits
{
    /// <summary>A mapping above this size (1 TiB) is cut behind its last page with content.</summary>
    internal const ulong WholeHoleBytes = 1UL << 40;
}

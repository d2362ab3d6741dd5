using Crstore.Model;

namespace Crstore.Restore;

/// <summary>What an export wrote.</summary>
/// <param name="Files">Paths written.</param>
/// <param name="Bytes">Bytes of memory content written.</param>
/// <param name="Warnings">For instance a mapped file that changed since the capture.</param>
public sealed record ExportResult(IReadOnlyList<string> Files, ulong Bytes, IReadOnlyList<string> Warnings);

/// <summary>Where and what to export.</summary>
/// <param name="Path">A file (core of one process) or a directory.</param>
/// <param name="Pid">One process of a tree, or null for all.</param>
/// <param name="Force">Overwrite.</param>
public sealed record ExportOptions(string Path, int? Pid, bool Force);

/// <summary>Builds a full image of a checkpoint in one format. One file and one registration per format.</summary>
public interface IExporter
{
    /// <summary>Name on the command line.</summary>
    string Format { get; }

    /// <summary>Writes beside and renames; refuses an existing path without force.</summary>
    ExportResult Export(ICheckpointImage image, ExportOptions options, IProgress<ulong>? bytesDone, CancellationToken cancel);
}

/// <summary>The formats there are.</summary>
public static class Exporters
{
    /// <summary>All, by name.</summary>
    public static IReadOnlyDictionary<string, IExporter> All { get; } = 
        new IExporter[] { new CoreExporter(), new RawExporter() }.ToDictionary(e => e.Format, StringComparer.Ordinal);
}

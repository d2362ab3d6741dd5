using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Store;

/// <summary>One series.</summary>
public sealed record SeriesInfo(string Name, Crid Latest, int Checkpoints, DateTimeOffset First, DateTimeOffset Last,
    ulong LogicalBytes, ulong BytesStored, IReadOnlyList<TrackerKind> Distrusted)
{
    /// <summary>With one checkpoint more, which comes behind those that are known.</summary>
    internal static SeriesInfo With(SeriesInfo? known, CheckpointHeader header, IEnumerable<TrackerKind>? distrusted = null)
    {
        var when = CheckpointNames.TimeOf(header);
        var logical = (header.Pages?.Logical ?? 0) * VirtualPage.Size;
        if (known is null) return new SeriesInfo(header.Series, new Crid(header.Crid), 1, when, when, logical, header.BytesStored, [.. distrusted ?? []]);
        var latest = header.Crid > known.Latest.Value;
        return known with
        {
            Latest = latest ? new Crid(header.Crid) : known.Latest,
            Checkpoints = known.Checkpoints + 1,
            First = latest || when > known.First ? known.First : when,
            Last = latest ? when : known.Last,
            LogicalBytes = known.LogicalBytes + logical,
            BytesStored = known.BytesStored + header.BytesStored,
        };
    }
}

/// <summary>Pages that differ between two CRIDs, by process and VMA.</summary>
public sealed record DiffResult(Crid A, Crid B, IReadOnlyList<DiffSpace> Spaces);

/// <summary>Differences in one address space; a process that only one side has gives all its pages.</summary>
public sealed record DiffSpace(int Pid, string Command, ulong PagesChanged, IReadOnlyList<DiffVma> Vmas);

/// <summary>Differences in one VMA.</summary>
public sealed record DiffVma(ulong Start, ulong End, string Name, ulong PagesChanged, IReadOnlyList<PageRange> Ranges);

/// <summary>How much of the content verify reads back and hashes; structure is always checked in full.</summary>
/// <param name="DataPercent">0 none, 100 all, else a random share of frames.</param>
public sealed record VerifyOptions(double DataPercent);

/// <summary>One thing that is wrong.</summary>
public sealed record VerifyProblem(Crid Crid, int? Pid, string? Vma, ulong? PageAddress, string Text);

/// <summary>What verify found.</summary>
public sealed record VerifyResult(IReadOnlyList<Crid> Whole, IReadOnlyList<Crid> Broken, IReadOnlyList<VerifyProblem> Problems,
    ulong FramesRead, ulong PagesRead, IReadOnlyList<string> StoreProblems);

/// <summary>Sizes in bytes.</summary>
public sealed record StoreStats(int Checkpoints, ulong LogicalBytes, ulong UniqueBytes, ulong CompressedBytes, ulong MapBytes,
    ulong IndexBytes, ulong DirectoryBytes, ulong Chunks, IReadOnlyList<SeriesInfo> Series)
{
    /// <summary>Logical over unique.</summary>
    public double DedupRatio => UniqueBytes == 0 ? 1 : (double)LogicalBytes / UniqueBytes;

    /// <summary>Unique over compressed.</summary>
    public double CompressionRatio => CompressedBytes == 0 ? 1 : (double)UniqueBytes / CompressedBytes;
}

/// <summary>What forget did, or would do.</summary>
public sealed record ForgetResult(IReadOnlyList<Crid> Forgotten, bool DryRun);

/// <summary>What `gc --recompress` did.</summary>
/// <param name="Looked">Frames and patch groups looked at: those that no run before had come to.</param>
/// <param name="Packed">Of them became smaller.</param>
/// <param name="BytesSaved">By that, in the records.</param>
/// <param name="Damaged">That can't be unpacked: they are as they were.</param>
/// <param name="BytesBefore">Of the database's files.</param>
/// <param name="BytesAfter">The same.</param>
/// <param name="Duration">Of the run.</param>
public sealed record RecompressResult(ulong Looked, ulong Packed, ulong BytesSaved, ulong Damaged, ulong BytesBefore, ulong BytesAfter, TimeSpan Duration);

/// <summary>How gc runs.</summary>
/// <param name="DryRun">Only count.</param>
/// <param name="WaitForSessions">How long to wait for captures that began before.</param>
public sealed record GcOptions(bool DryRun, TimeSpan WaitForSessions);

/// <summary>What gc freed, or would free.</summary>
public sealed record GcResult(ulong ChunksFreed, ulong FramesDeleted, ulong FramesRewritten, ulong SegmentsFreed, ulong OrphanFilesFreed,
    ulong BytesBefore, ulong BytesAfter, TimeSpan Duration, bool DryRun, IReadOnlyList<string> HeldBy)
{
    /// <summary>Damaged frames and patch groups that some checkpoint still refers to, as far as gc came across them: they stay, but no capture finds their pages any more.</summary>
    public ulong DamagedFrames { get; init; }
}

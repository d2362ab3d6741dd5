using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>What to leave out.</summary>
/// <param name="Start">First address, or null for a path.</param>
/// <param name="End">First address behind it.</param>
/// <param name="Path">Mapped file or mapping name, or null for a range.</param>
public sealed record ExcludeRule(ulong? Start, ulong? End, string? Path);

/// <summary>When to save pages while the process runs, and freeze it for what it wrote meanwhile only.</summary>
public enum PreCopyPolicy
{
    /// <summary>Where there is enough to read to be worth another freeze, and the tracker can watch (uffd): <see cref="RoundPolicy"/>.</summary>
    Auto,

    /// <summary>Never: everything is copied in one freeze.</summary>
    Never,

    /// <summary>However little there is to read.</summary>
    Always,
}

/// <summary>When the last freeze makes a copy-on-write snapshot, which is read afterwards, instead of copying.</summary>
public enum SnapshotPolicy
{
    /// <summary>Never.</summary>
    Never,

    /// <summary>Where copying would take longer: <see cref="Snapshots.SnapshotChoice"/>.</summary>
    Auto,

    /// <summary>Wherever it can be made.</summary>
    Always,
}

/// <summary>What to do about established TCP connections, which can't be taken up again.</summary>
public enum TcpPolicy
{
    /// <summary>The checkpoint refuses to be restarted.</summary>
    Refuse,

    /// <summary>They come back as reset.</summary>
    Close,

    /// <summary>The capture waits for a moment without any.</summary>
    Wait,
}

/// <summary>How to capture.</summary>
public sealed record CaptureOptions
{
    /// <summary>Root process.</summary>
    public required int Pid { get; init; }

    /// <summary>Null: the best that works by trial.</summary>
    public TrackerKind? Tracker { get; init; }

    /// <summary>All descendants too, in one freeze.</summary>
    public bool Tree { get; init; }

    /// <summary>Leave the target in SIGSTOP afterwards.</summary>
    public bool KeepStopped { get; init; }

    /// <summary>Save unmodified file pages as well.</summary>
    public bool EmbedFiles { get; init; }

    /// <summary>Save the content of open regular files as well, as far as <see cref="Objects.Files.ContentSaver"/> takes it.</summary>
    public bool WithFiles { get; init; }

    /// <summary>Leave MADV_DONTDUMP areas out.</summary>
    public bool HonourDontDump { get; init; }

    /// <summary>What to leave out.</summary>
    public IReadOnlyList<ExcludeRule> Exclude { get; init; } = [];

    /// <summary>No checkpoint rather than one that could not be restarted.</summary>
    public bool RequireRestartable { get; init; }

    /// <summary>Page buffer in bytes; null: a quarter of free memory.</summary>
    public long? BufferBytes { get; init; }

    /// <summary>Whether pages are copied from the running process first.</summary>
    public PreCopyPolicy PreCopy { get; init; } = PreCopyPolicy.Auto;

    /// <summary>How often at most, before the freeze that ends it.</summary>
    public int MaxRounds { get; init; } = 4;

    /// <summary>Whether a copy-on-write snapshot is made instead of copying in the freeze.</summary>
    public SnapshotPolicy Snapshot { get; init; } = SnapshotPolicy.Never;

    /// <summary>What is written everywhere before every capture is not always write protected (<see cref="Tracking.HotMemory"/>). Not where something asks meanwhile how much was written.</summary>
    public bool LeaveHot { get; init; } = true;

    /// <summary>About TCP connections.</summary>
    public TcpPolicy Tcp { get; init; }

    /// <summary>How long <see cref="TcpPolicy.Wait"/> waits.</summary>
    public TimeSpan TcpPatience { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The longest the target may be frozen.</summary>
    public TimeSpan MaxFrozen { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Nice value of crstore's threads while the target runs, but for what is between two freezes; if it is more than what they have, and than 0: <see cref="GivingWay"/>.</summary>
    public int Nice { get; init; }

    /// <summary>What they had, if they give way already (<see cref="GivingWay.Begin"/>); null: what they have now.</summary>
    public int? UsualNice { get; init; }

    /// <summary>This process is over behind the capture: who may not take <see cref="Nice"/> back may have it for what comes behind the last freeze.</summary>
    public bool MayStayNice { get; init; }

    /// <summary>For what is done side by side while the target runs.</summary>
    public int Processors { get; init; } = Environment.ProcessorCount;

    /// <summary>How to wait for another capture of the same target.</summary>
    public LockWait LockWait { get; init; } = LockWait.Default;

    /// <summary>Share of "clean" pages that are re-hashed.</summary>
    public double SampleShare { get; init; } = 0.001;

    /// <summary>
    /// Called when the target runs again, before anything is stored, with the manifest as it is known by then and the pages that will have content.
    /// Once, though a tracker that is caught lying makes a second freeze.
    /// </summary>
    public Action<CheckpointManifest, IReadOnlyList<SpaceContent>>? Thawed { get; init; }

    /// <summary>
    /// Called right before the commit with the manifest, complete but for what the commit adds (CRID, counters, phases), for work that can go on beside it: it reads and
    /// changes nothing of the manifest but <see cref="CheckpointManifest.Body"/>'s processes and files, which stay as they are. Must return at once.
    /// </summary>
    public Action<CheckpointManifest>? Described { get; init; }

    /// <summary>Command start, for total_ns: <see cref="System.Diagnostics.Stopwatch.GetTimestamp"/>.</summary>
    public long StartedAt { get; init; } = System.Diagnostics.Stopwatch.GetTimestamp();
}

/// <summary>Progress of a capture.</summary>
/// <param name="Phase">What is being done.</param>
/// <param name="PagesDone">Pages done.</param>
/// <param name="PagesTotal">Pages in all; 0 if unknown.</param>
public readonly record struct CaptureProgress(string Phase, ulong PagesDone, ulong PagesTotal);

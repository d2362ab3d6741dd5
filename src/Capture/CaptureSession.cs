using Crstore.Model;

namespace Crstore.Capture;

/// <summary>
/// One capture from rehearsal to commit: the main path. Freeze, scan and reset, copy, read state, thaw; then hash,
/// dedup, compress and commit through the <see cref="ICheckpointWriter"/>.
/// </summary>
public static class CaptureSession
{
    /// <summary>Captures into the writer and commits. The target runs again (or is stopped as asked) when this returns or throws.</summary>
    public static CheckpointManifest Run(CaptureOptions options, ICheckpointWriter writer, IProgress<CaptureProgress>? progress, CancellationToken cancel)
        => throw new NotSupportedException();
}

using Crstore.Capture.Memory;
using Crstore.Capture.State;

namespace Crstore.Capture;

/// <summary>
/// What outlives one capture of a program that takes many: the rehearsal that is behind it, what is known of files,
/// and some memory for pages that need not be faulted in again. It holds nothing of a target: each capture prepares, freezes and proves
/// continuity as the only one of a process would, so that captures by others may come in between at any time.
/// </summary>
public sealed class CaptureKit : IDisposable
{
    private const long KeptBytes = 64 << 20; // more is given back after each capture: it is faulted in while the target runs

    /// <summary>For many captures, one at a time.</summary>
    public CaptureKit()
        : this(KeptBytes)
    {
    }

    private CaptureKit(long keptBytes) => Buffer = new PageBuffer(budgetBytes: null) { KeptBytes = keptBytes };

    /// <summary>Empty between captures.</summary>
    internal PageBuffer Buffer { get; }

    /// <summary>Build ids, by file version.</summary>
    internal FileRefs Files { get; } = new();

    /// <summary>The way through the freeze has been taken once: what the runtime prepares at first use is ready.</summary>
    internal bool Rehearsed { get; set; }

    /// <summary>For a single capture.</summary>
    internal static CaptureKit ForOne() => new(keptBytes: 0);

    /// <inheritdoc/>
    public void Dispose() => Buffer.Dispose();
}

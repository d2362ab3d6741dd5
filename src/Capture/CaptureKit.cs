using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Linux;

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

    /// <summary>A rehearsal that is under way, and the thread that freezes in it; null if there is none, or it was taken.</summary>
    internal (PtraceThread Thread, Task Rehearsal)? Begun { get; private set; }

    /// <summary>For a single capture.</summary>
    internal static CaptureKit ForOne() => new(keptBytes: 0);

    /// <summary>For a single capture that is about to begin: its rehearsal goes on beside what has to be done before, opening the store and finding the parent.</summary>
    /// <param name="options">The capture's. Nothing is done to its target yet.</param>
    public static CaptureKit ForOne(CaptureOptions options)
    {
        var kit = ForOne();
        var thread = new PtraceThread();
        kit.Begun = (thread, Task.Run(() => CaptureSession.Rehearse(options, Guid.Empty, thread, kit.Files))); // no store is told of it
        return kit;
    }

    /// <summary>Gives <see cref="Begun"/> away.</summary>
    internal (PtraceThread Thread, Task Rehearsal)? TakeRehearsal()
    {
        var begun = Begun;
        Begun = null;
        return begun;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (TakeRehearsal() is var (thread, rehearsal))
        {
            Task.WaitAny(rehearsal); // it has a process of its own to end
            _ = rehearsal.Exception; // there was no capture after all: whoever gives up has an error of its own
            thread.Dispose();
        }

        Buffer.Dispose();
    }
}

using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace Crstore.Restore;

/// <summary>
/// Writes windows in order on a thread of its own, so that reading and writing overlap. There are two windows: who fills one
/// waits until the other is written. Owns the files until they end.
/// </summary>
/// <param name="windowPages">Size of a window.</param>
/// <param name="mayWrite">Nothing is written before it is set; null: at once.</param>
/// <param name="cancel">Ends the waiting for it.</param>
internal sealed class WindowWriter(int windowPages, ManualResetEventSlim? mayWrite, CancellationToken cancel) : IDisposable
{
    private const int Windows = 2;

    private readonly BlockingCollection<RunCopier.Window> free = [];
    private readonly BlockingCollection<RunCopier.Window> full = [];
    private readonly List<RunCopier.Window> all = [];
    private readonly HashSet<SparseFile> files = [];
    private readonly Lock gate = new();
    private Thread? thread;
    private volatile ExceptionDispatchInfo? failure;
    private volatile bool abandoned;

    /// <summary>A file to close if nobody ends it.</summary>
    internal SparseFile Track(SparseFile file)
    {
        lock (gate) files.Add(file);
        return file;
    }

    /// <summary>An empty window.</summary>
    /// <exception cref="Model.EnvironmentException">An earlier one could not be written.</exception>
    internal RunCopier.Window Free()
    {
        failure?.Throw();
        if (free.TryTake(out var window)) return window;
        if (all.Count == Windows)
        {
            window = free.Take();
            failure?.Throw();
            return window;
        }
        all.Add(window = new RunCopier.Window(windowPages));
        return window;
    }

    /// <summary>Takes a window to be written.</summary>
    internal void Write(RunCopier.Window window)
    {
        if (thread is null)
        {
            thread = new Thread(WriteAll) { IsBackground = true, Name = "crstore write" };
            thread.Start();
        }
        full.Add(window);
    }

    /// <summary>Returns when everything is written.</summary>
    /// <exception cref="Model.EnvironmentException">Something could not be written.</exception>
    internal void Complete()
    {
        Stop();
        failure?.Throw();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        abandoned = true;
        Stop();
        foreach (var file in files) file.Dispose();
        foreach (var window in all) window.Dispose();
        free.Dispose();
        full.Dispose();
    }

    private void Stop()
    {
        full.CompleteAdding();
        thread?.Join();
    }

    private void WriteAll()
    {
        foreach (var window in full.GetConsumingEnumerable())
        {
            try
            {
                mayWrite?.Wait(cancel);
                if (failure is null && !abandoned) window.WriteOut(Close);
            }
            catch (Exception e) // shown to the caller, at the next window or at the end
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
            free.Add(window);
        }
    }

    private void Close(SparseFile file)
    {
        lock (gate) files.Remove(file);
        file.Dispose();
    }
}

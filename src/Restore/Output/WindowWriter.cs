using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace Crstore.Restore;

/// <summary>
/// Writes windows in order on a thread of its own, so that reading and writing overlap. There are two windows: who fills one
/// waits until the other is written. Owns the files until they end.
/// </summary>
internal sealed class WindowWriter(CancellationToken cancel) : IDisposable
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

    /// <summary>Nothing is written before it is set.</summary>
    internal ManualResetEventSlim? MayWrite { get; set; }

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
        all.Add(window = new RunCopier.Window());
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
                MayWrite?.Wait(cancel);
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

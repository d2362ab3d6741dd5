using Crstore.Store.Native;

namespace Crstore.Store;

/// <summary>
/// Loads RocksDB on a thread of its own, beside whatever else a program does when it starts: the loader takes 10 ms of processor time to look up the
/// names of that library and of those that it needs.
/// </summary>
public sealed class StorePreload : IDisposable
{
    private readonly Thread? thread;

    private StorePreload(Thread? thread) => this.thread = thread;

    /// <summary>Begins. A library that is missing is told when the store is opened.</summary>
    /// <param name="wanted">The store is likely to be opened; else this does nothing.</param>
    public static StorePreload Begin(bool wanted)
    {
        if (!wanted || Environment.ProcessorCount == 1) return new StorePreload(null);
        var thread = new Thread(static () => _ = RocksNative.IsPresent) { IsBackground = true, Name = "crstore load" };
        thread.Start();
        return new StorePreload(thread);
    }

    /// <summary>Waits for its end: a process must not exit while its libraries are being made ready.</summary>
    public void Dispose() => thread?.Join();
}

using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.InMemory;
using Crstore.Store.Layout;
using Crstore.Store.Pending;

namespace Crstore.Store;

/// <summary>
/// A store directory. Holding one of these holds no lock and no RocksDB instance, unless it has a <see cref="Keeper"/>: readers open a
/// snapshot, writers take the write lock for the commit alone.
/// </summary>
public sealed partial class CheckpointStore : IDisposable
{
    private CheckpointStore(StoreOptions options, StorePaths paths, Guid id) => (Options, Paths, CountedIn, Id) = (options, paths, paths, id);

    /// <summary>Stable id of the store.</summary>
    public Guid Id { get; }

    /// <summary>The directory, absolute.</summary>
    public string Directory => Paths.Root;

    internal StoreOptions Options { get; }

    internal StorePaths Paths { get; }

    internal StoreKeeper? Keeper { get; private set; }

    /// <summary>Opens an existing store. <see cref="UsageException"/> if there is none.</summary>
    public static CheckpointStore Open(StoreOptions options)
    {
        FileCalls.MakePrivateByDefault();
        var paths = new StorePaths(options.Directory);
        return new CheckpointStore(options, paths, StoreCreation.Check(paths).StoreId);
    }

    /// <summary>Opens, or creates with mode 0700. A creation that was cut short is completed.</summary>
    public static CheckpointStore OpenOrCreate(StoreOptions options, out bool created)
    {
        FileCalls.MakePrivateByDefault();
        var paths = new StorePaths(options.Directory);
        created = false;
        var format = FormatFile.Read(paths);
        if (format is null)
        {
            format = StoreCreation.Create(paths, options);
            created = true;
        }

        return new CheckpointStore(options, paths, format.StoreId);
    }

    /// <summary>
    /// Locks the series, allocates a CRID durably, registers the session and loads the parent (the series' latest, unless <paramref name="full"/>).
    /// While the keeper has the store open, the series is not waited for.
    /// </summary>
    /// <exception cref="StoreBusyException">Somebody else captures the series.</exception>
    public ICheckpointWriter BeginCapture(string series, bool full) => CheckpointWriter.Begin(this, series, full);

    /// <summary>The same for one that may be announced before its commit.</summary>
    public LazyCapture BeginLazyCapture(string series, bool full) => LazyCapture.Begin(this, series, full);

    /// <summary>From now on what is open for writing behind a commit stays open, as long as the keeper keeps it; null if it can't.</summary>
    public StoreKeeper? Keep() => Keeper ??= StoreKeeper.TryMake(Paths);

    /// <summary>How many processors the loops of this process take from now on.</summary>
    public static void UseProcessors(int count) => AllCores.Threads = count;

    /// <summary>How a CRID stands that was announced before its commit, or is committed; null if nothing is known of it.</summary>
    public CapturedStatus? StatusOf(Crid crid)
    {
        var live = StoreErrors.Guard(() => SessionFile.IsLive(Paths, crid)); // first: what ends in between is in the store
        using (var view = OpenView())
        {
            if (view.IsInMemory(crid)) return new CapturedStatus(CapturedState.InMemory);
            if (view.Header(crid) is not null) return new CapturedStatus(CapturedState.Committed);
        }

        var status = StoreErrors.Guard(() => CapturedStatus.Read(Paths, crid));
        if (live) return new CapturedStatus(CapturedState.Writing, status?.Pid ?? 0);
        return status?.State switch
        {
            CapturedState.Writing => status with { State = CapturedState.Died },
            CapturedState.InMemory => MemoryNotes.Meaning(status),
            _ => status,
        };
    }

    /// <summary>Waits until the session of a CRID is over, however it ends.</summary>
    public void AwaitSession(Crid crid, CancellationToken cancel) => StoreErrors.Guard(() => PendingFiles.AwaitSession(Paths, crid, cancel));

    /// <summary>A consistent read-only snapshot, beside any writer.</summary>
    public StoreReader OpenReader() => StoreReader.Open(Paths);

    /// <inheritdoc/>
    public void Dispose() => Keeper?.Dispose();
}

using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.InMemory;

/// <summary>
/// The store beside a store, on a tmpfs: an ordinary one, but for its CRIDs, which are the main store's (docs/ARCHITECTURE.md, "In memory only"). Nobody removes
/// it as long as one of these is open.
/// </summary>
internal sealed class MemoryStore : IDisposable
{
    private readonly CheckpointStore main;
    private readonly MemoryPlace place;
    private readonly SafeFileHandle use;

    private MemoryStore(CheckpointStore main, MemoryPlace place, SafeFileHandle use, CheckpointStore store) =>
        (this.main, this.place, this.use, Store) = (main, place, use, store);

    /// <summary>It.</summary>
    public CheckpointStore Store { get; }

    /// <summary>What is free of its tmpfs.</summary>
    public ulong FreeBytes => place.FreeBytes;

    /// <summary>Opens it; null if there is none.</summary>
    public static MemoryStore? TryOpen(CheckpointStore main)
    {
        var place = new MemoryPlace(main.Options, main.Id);
        if (!place.Exists(main.Options.Warning)) return null;
        return Open(main, place, () => place.Exists() ? CheckpointStore.Open(OptionsOf(main, place)) : null);
    }

    /// <summary>Opens it, or makes it.</summary>
    /// <exception cref="EnvironmentException">There is no place for it.</exception>
    public static MemoryStore OpenOrCreate(CheckpointStore main)
    {
        var place = new MemoryPlace(main.Options, main.Id);
        place.Make();
        return Open(main, place, () => Explained(main.Options, () => CheckpointStore.OpenOrCreate(OptionsOf(main, place), out _)))!;
    }

    /// <summary>A look at what is in it; null if there is none. What is wrong with it is no reason not to look at the main store.</summary>
    public static StoreReader? TryRead(CheckpointStore main)
    {
        try
        {
            using var memory = TryOpen(main);
            return memory?.Store.OpenReader(); // it keeps its files open
        }
        catch (Exception e) when (e is StoreDamagedException or EnvironmentException)
        {
            main.Options.Warning?.Invoke($"checkpoints in memory are not looked at: {e.Message}");
            return null;
        }
    }

    /// <summary>Removes what is left of one that holds nothing, or was never completed, if nobody uses it.</summary>
    public static void RemoveIfEmpty(CheckpointStore main)
    {
        var place = new MemoryPlace(main.Options, main.Id);
        if (!Directory.Exists(place.Store) && !Directory.Exists(place.Gone)) return;
        place.Make();
        using var use = place.Use(main.Options);
        if (place.TryAlone(use) && (!place.Exists() || HasNothing())) place.Remove();

        bool HasNothing()
        {
            using var store = CheckpointStore.Open(OptionsOf(main, place));
            return IsEmpty(store);
        }
    }

    /// <summary>Some of these are in it. What is not will never be: it gets what is captured, under a CRID that is new.</summary>
    public bool HasAny(IReadOnlyList<Crid> crids)
    {
        using var reader = Store.OpenReader();
        return crids.Any(c => reader.Header(c) is not null);
    }

    /// <summary>One at a time takes checkpoints out of it.</summary>
    public HeldLock LockRemovals(string verb) =>
        HeldLock.Take(Store.Paths.Removals, verb, $"the memory store {Store.Directory}", main.Options.LockTimeout, main.Options.Waiting, main.Options.Cancel);

    /// <summary>Takes checkpoints out of it. The removals are locked.</summary>
    public void Forget(IReadOnlyList<Crid> crids)
    {
        if (crids.Count > 0) Explained(main.Options, () => Store.ForgetHere(crids, dryRun: false, main.Options.Warning));
        FaultPoint.Hit("memory.forgotten");
        foreach (var crid in crids) MemoryNotes.Remove(main.Paths, crid);
    }

    /// <summary>
    /// Gives back the memory of what was taken out; the store itself, if nothing is left. What was to be done before is done: whatever goes wrong here is a warning.
    /// </summary>
    public void Shrink(CancellationToken cancel)
    {
        try
        {
            if (!IsEmpty(Store)) Store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, cancel); // what a capture may count on waits for the next time
            else if (place.TryAlone(use) && (!place.Exists() || IsEmpty(Store))) StoreErrors.Guard(place.Remove); // another one may have been faster
        }
        catch (Exception e) when (e is CrstoreException or OperationCanceledException)
        {
            main.Options.Warning?.Invoke($"some memory was not given back, the next `crstore gc` tries again: {e.Message}");
        }
    }

    /// <summary>Runs something that writes to the memory store: if there is no room, says so in terms of memory.</summary>
    public static T Explained<T>(StoreOptions options, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (EnvironmentException e) when (e.Hint == StoreErrors.FreeSpace)
        {
            throw new EnvironmentException(e.Message, HowToMakeRoom(options), e);
        }
    }

    /// <summary>What to do where memory is short.</summary>
    public static string HowToMakeRoom(StoreOptions options) =>
        $"`crstore commit` or `crstore discard` checkpoints that are in memory (`crstore list` marks them), enlarge the tmpfs (mount -o remount,size=SIZE {options.MemoryRoot ?? MemoryPlace.DefaultRoot}), or capture without --memory-only";

    /// <inheritdoc/>
    public void Dispose()
    {
        Store.Dispose();
        use.Dispose();
    }

    private static MemoryStore? Open(CheckpointStore main, MemoryPlace place, Func<CheckpointStore?> open)
    {
        var use = place.Use(main.Options);
        try
        {
            if (open() is { } store) return new MemoryStore(main, place, use, store.CountIn(main.Paths));
            use.Dispose();
            return null;
        }
        catch
        {
            use.Dispose();
            throw;
        }
    }

    private static StoreOptions OptionsOf(CheckpointStore main, MemoryPlace place) => main.Options with { Directory = place.Store };

    private static bool IsEmpty(CheckpointStore store)
    {
        using var reader = store.OpenReader();
        using var i = reader.Database.Iterate(ColumnFamily.Manifests);
        return !i.SeekToFirst();
    }
}

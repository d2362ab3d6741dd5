using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Maintenance;
using Crstore.Store.Pending;

namespace Crstore.Tests.Crash.Driver;

/// <summary>One driver's operations.</summary>
internal sealed class DriverSession(string directory, string oracleDirectory, string number, Random random) : IDisposable
{
    private static readonly string[] SeriesNames = ["red", "green", "blue"];

    // All in SSTs, all in the batch; in between some of pages, patches and index entries go this way and some that way.
    private static readonly int[] SmallPages = [0, 0, 64, 128, 5000, 5000];
    private readonly Oracle oracle = new(Path.Combine(oracleDirectory, $"oracle-{number}"));

    /// <summary>Does one thing; returns what was wrong, or null.</summary>
    public string? Step(char what)
    {
        switch (what)
        {
            case 'c': Capture(150); return null;
            case 'b': Capture(1500); return null;
            case 'k': CaptureSeveral(); return null;
            case 'l': CaptureLazily(); return null;
            case 'm': Capture(150, inMemory: true); return null;
            case 'a': TakeOutOfMemory(); return null;
            case 'f': Forget(); return null;
            case 'g': Collect(); return null;
            case 'z': Recompress(); return null;
            case 'd': CaptureAndPackWithDictionary(); return null;
            case 'x': ForgetAll(); return null;
            default: return ReadOne();
        }
    }

    public void Dispose() => oracle.Dispose();

    private CheckpointStore Open(Action<string>? waiting = null, CancellationToken cancel = default) => CheckpointStore.OpenOrCreate(new StoreOptions(directory)
    {
        Waiting = waiting,
        Cancel = cancel,
        LockTimeout = TimeSpan.FromMinutes(10), // the others may be slow, on a machine with much else to do
        Compression = new Compression(random.Next(3) == 0 ? null : 1),
        SmallCapturePages = SmallPages[random.Next(SmallPages.Length)],
        MemoryRoot = Directory.CreateDirectory(Path.Combine(oracleDirectory, "memory"), (UnixFileMode)0b111_000_000).FullName,
        MemoryMayBeDisk = true,
    }, out _);

    private void Capture(int maxPages, bool inMemory = false)
    {
        using var store = Open();
        Capture(store, maxPages, inMemory);
    }

    /// <summary>As watch does.</summary>
    private void CaptureSeveral()
    {
        using var store = Open();
        if (store.Keep() is null) oracle.Note("not-kept");
        for (var i = random.Next(2, 7); i > 0; i--)
        {
            try
            {
                Capture(store, 100);
            }
            catch (StoreBusyException)
            {
                oracle.Note("given-away"); // somebody else captures the series: with the store open it is not waited for
            }

            if (random.Next(3) == 0) Thread.Sleep(random.Next(5));
            oracle.Note(store.Keeper?.IsOpen == true ? "kept" : "not-kept");
        }
    }

    private void Capture(CheckpointStore store, int maxPages, bool inMemory = false)
    {
        var series = SeriesNames[random.Next(SeriesNames.Length)];
        var full = random.Next(8) == 0;
        using var writer = inMemory ? store.BeginMemoryCapture(series, full, () => 0) : store.BeginCapture(series, full);
        var parent = writer.Parent is { } p ? Oracle.ReadAll(oracleDirectory).Meant[p.Crid].Memory : null;
        var memory = SyntheticMemory.Mutate(parent, random, maxPages, contents: 400);
        oracle.Meant(writer.Crid, series, memory);
        memory.Write(writer.OpenSpace(new SpaceId(0), parent is null ? null : new SpaceId(0)), parent, random);
        if (random.Next(15) == 0) return; // an attempt that is given up
        writer.Commit(SyntheticMemory.Manifest());
        if (inMemory) oracle.Kept(writer.Crid);
        else oracle.Committed(writer.Crid);
    }

    /// <summary>Commits or discards what is in memory, most of it. If nothing is, something is captured first: few drivers live to see both.</summary>
    private void TakeOutOfMemory()
    {
        using var store = Open();
        var all = InMemory(store);
        if (all.Count == 0)
        {
            Capture(store, 150, inMemory: true);
            all = InMemory(store);
        }

        foreach (var crid in all)
        {
            var chance = random.Next(8);
            if (chance == 0) continue;
            try
            {
                if (chance > 2)
                {
                    oracle.Note(store.CommitFromMemory(crid, null, CancellationToken.None).Written ? "adopted" : "adopted-before");
                    oracle.Committed(crid);
                    continue;
                }

                oracle.Forgetting(crid);
                store.Discard([crid], CancellationToken.None);
                oracle.Forgotten(crid);
            }
            catch (UsageException)
            {
                oracle.Note("taken-by-another"); // between our look and our try
            }
        }

        store.TidyMemory(CancellationToken.None);
    }

    private static List<Crid> InMemory(CheckpointStore store)
    {
        using var view = store.OpenView();
        return [.. view.Headers().Select(h => new Crid(h.Crid)).Where(view.IsInMemory)];
    }

    /// <summary>
    /// A capture that is announced, and another one that builds on it before it is committed. Whoever has the series by then may be waiting for the first one, which is committed no sooner than the second one
    /// has begun here: only here, for else each is a process of its own. So the second one doesn't wait.
    /// </summary>
    private void CaptureLazily()
    {
        try
        {
            CaptureTwo();
        }
        catch (VoidCaptureException)
        {
            oracle.Note("void"); // it was built on another driver's, and that one was killed, or has forgotten what it was built on
        }
    }

    private void CaptureTwo()
    {
        var series = SeriesNames[random.Next(SeriesNames.Length)];
        using var store = Open();
        using var first = store.BeginLazyCapture(series, full: false);
        var (parent, memory) = Next(first);
        memory.Write(first.OpenSpace(new SpaceId(0), parent is null ? null : new SpaceId(0)), parent, random);
        first.Announce(SyntheticMemory.Manifest(), [new SpaceContent(new SpaceId(0), memory.Content())]);
        using var busy = new CancellationTokenSource();
        var begins = true;
        using var again = Open(_ => { if (begins) busy.Cancel(); }, busy.Token);
        using var second = TryBegin();
        begins = false;
        if (second is null)
        {
            first.Commit(SyntheticMemory.Manifest());
            oracle.Committed(first.Crid);
            return;
        }

        var (known, next) = Next(second);
        var space = second.OpenSpace(new SpaceId(0), known is null ? null : new SpaceId(0));
        second.Announce(SyntheticMemory.Manifest(), [new SpaceContent(new SpaceId(0), next.Content())]);
        first.Commit(SyntheticMemory.Manifest());
        oracle.Committed(first.Crid);
        first.Dispose();
        next.Write(space, known, random);
        second.Commit(SyntheticMemory.Manifest());
        oracle.Committed(second.Crid);

        LazyCapture? TryBegin()
        {
            try
            {
                return again.BeginLazyCapture(series, full: false);
            }
            catch (OperationCanceledException)
            {
                oracle.Note("alone");
                return null;
            }
        }

        (SyntheticMemory? Parent, SyntheticMemory Memory) Next(ICheckpointWriter writer)
        {
            var before = writer.Parent is { } p ? Oracle.ReadAll(oracleDirectory).Meant[p.Crid].Memory : null;
            var after = SyntheticMemory.Mutate(before, random, 150, contents: 400);
            oracle.Meant(writer.Crid, series, after);
            return (before, after);
        }
    }

    private void Forget()
    {
        using var store = Open();
        List<Crid> all;
        using (var view = store.OpenView()) all = [.. view.Headers().Select(h => new Crid(h.Crid))];
        if (all.Count == 0) return;
        var victims = Enumerable.Range(0, Math.Max(1, all.Count - 12)).Select(_ => all[random.Next(all.Count)]).Distinct().ToList();
        foreach (var victim in victims) oracle.Forgetting(victim);
        try
        {
            store.Forget(victims, dryRun: false);
            foreach (var victim in victims) oracle.Forgotten(victim);
        }
        catch (UsageException)
        {
            oracle.Note("forgotten-by-another"); // between our look and our forget
        }
    }

    private void Collect()
    {
        using var store = Open();
        var result = store.CollectGarbage(new GcOptions(false, TimeSpan.FromSeconds(30)), null, CancellationToken.None);
        oracle.Note("gc");
        if (result.ChunksFreed > 0) oracle.Note("gc-freed");
    }

    private void Recompress()
    {
        using var store = Open();
        var recompressor = new Recompressor(store, null, CancellationToken.None)
        {
            LeastDictionaryBytes = 4096,
            BytesPerDictionary = random.Next(2) == 0 ? 1 << 20 : 1 << 24,
            BytesAtOnce = random.Next(2) == 0 ? 64 << 10 : 16 << 20,
        };
        if (recompressor.Run().Packed > 0) oracle.Note("recompressed");
    }

    /// <summary>Two captures of what nobody has captured before and what comes again in many frames, the second as patches; packed harder they have a dictionary for certain.</summary>
    private void CaptureAndPackWithDictionary()
    {
        var memory = SyntheticMemory.Similar(random.Next(1 << 16, 1 << 20), contents: 64);
        using (var store = Open())
        {
            CaptureSimilar(store, memory);
            CaptureSimilar(store, memory.LastVariants());
        }

        Recompress();
    }

    private void CaptureSimilar(CheckpointStore store, SyntheticMemory memory)
    {
        const string name = "grey";
        using var writer = store.BeginCapture(name, full: false);
        var parent = writer.Parent is { } p ? Oracle.ReadAll(oracleDirectory).Meant[p.Crid].Memory : null;
        oracle.Meant(writer.Crid, name, memory);
        memory.Write(writer.OpenSpace(new SpaceId(0), parent is null ? null : new SpaceId(0)), parent, random);
        writer.Commit(SyntheticMemory.Manifest());
        oracle.Committed(writer.Crid);
    }

    /// <summary>So that gc has something to free, for certain.</summary>
    private void ForgetAll()
    {
        using (var store = Open())
        {
            List<Crid> all;
            using (var view = store.OpenView()) all = [.. view.Headers().Select(h => new Crid(h.Crid))];
            foreach (var crid in all) oracle.Forgetting(crid);
            store.Forget(all, dryRun: false);
            foreach (var crid in all) oracle.Forgotten(crid);
        }

        Collect();
    }

    private string? ReadOne()
    {
        using var store = Open();
        using var reader = store.OpenView();
        var all = reader.Headers().Select(h => new Crid(h.Crid)).ToList();
        if (all.Count == 0) return null;
        using var image = reader.OpenImage(all[random.Next(all.Count)]);
        reader.Dispose(); // the image keeps it
        oracle.Note("read");
        return Oracle.ReadAll(oracleDirectory).Meant[image.Manifest.Crid].Memory.Compare(image);
    }
}

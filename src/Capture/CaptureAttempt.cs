using System.Diagnostics;
using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Capture.Snapshots;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>
/// One freeze with what comes before and after it: <see cref="Prepare"/>, <see cref="PrepareBuffer"/>, <see cref="Freeze"/>,
/// <see cref="Deliver"/>, <see cref="Describe"/>; or a first round: <see cref="Prepare"/>, <see cref="Arm"/>, <see cref="PreCopy"/>.
/// </summary>
internal sealed class CaptureAttempt(
    CaptureOptions options, ICheckpointWriter writer, SpaceTable spaces, FileRefs files, PageBuffer buffer, FreezeWatchdog watchdog, PhaseClock clock) : IDisposable
{
    private const long NoGcBytes = 32 << 20;
    private const int PrepareRounds = 4;
    private readonly Dictionary<int, ProcessCapture> _prepared = [];
    private readonly Dictionary<int, Task<VmaPlan?>> _plans = []; // of those that are to be prepared
    private readonly List<ProcessCapture> _captured = [];
    private readonly FreezeCrew _crew = new();
    private readonly ProcessorClocks _processorClocks = new();
    private readonly SnapshotTurn _snapshots = new();
    private readonly CaptureDescription _description = new(options);

    /// <summary>A run-through on a throw-away process.</summary>
    public bool Rehearsal { get; init; }

    /// <summary>A tracker lied: believe nothing.</summary>
    public bool ReadEverything { get; init; }

    /// <summary>Of a capture that waits for a moment without connections; null: it doesn't.</summary>
    public TcpConnections? Connections { get; init; }

    /// <summary>After <see cref="Freeze"/>: there was a connection, and nothing was captured. It may be called again.</summary>
    public bool Postponed { get; private set; }

    /// <summary>From the first thread stopped to the last one running again.</summary>
    public TimeSpan FrozenTime { get; private set; }

    /// <summary>Processes that <see cref="CaptureOptions.KeepStopped"/> left stopped in an earlier attempt: nobody else's stop.</summary>
    public IReadOnlySet<int> StoppedBefore { get; init; } = new HashSet<int>();

    /// <summary>What the last round knows of the processes, by pid.</summary>
    public IReadOnlyDictionary<int, PreCopiedRound> PreCopied { get; init; } = new Dictionary<int, PreCopiedRound>();

    /// <summary>Where the pages wait that rounds read; null for a rehearsal.</summary>
    public HeldMemory? Held { get; init; }

    /// <summary>What a round would copy from running processes, all in all; after <see cref="Prepare"/>.</summary>
    public long RoundBytes => Watchable.Sum(p => p.Memory.Estimate.TrackableBytes);

    /// <summary>Of that, about what was written everywhere before the last captures too.</summary>
    public long HotBytes => Watchable.Sum(p => p.Memory.HotBytes);

    /// <summary>What its freeze would have to look at.</summary>
    public long WalkedBytes => Watchable.Sum(p => p.Memory.Estimate.PopulatedBytes);

    /// <summary>No tracker has watched any of them so far.</summary>
    public bool IsBase => Watchable.All(p => !p.Memory.IsContinuous);

    /// <summary>A round would not only hold pages in memory.</summary>
    public bool StoresInRound => Watchable.Any(p => !p.Memory.IsContinuous);

    /// <summary>Something can be watched at all.</summary>
    public bool CanPreCopy => !ReadEverything && Watchable.Any();

    /// <summary>The freeze makes snapshots and copies only what they don't have. Set before <see cref="PrepareBuffer"/>.</summary>
    public bool UseSnapshots { get; set; }

    /// <summary>After <see cref="Freeze"/>: why no snapshot could be made; nothing was captured then, or reset. Empty if nothing speaks against it.</summary>
    public string SnapshotRefused => _snapshots.Refused;

    /// <summary>What the freeze would copy of what a snapshot has, and all that a snapshot would need page tables for; after <see cref="Prepare"/>.</summary>
    public (long CopyBytes, long PopulatedBytes) SnapshotSize => (_prepared.Values.Sum(p => p.Memory.Estimate.SnapshotBytes), _prepared.Values.Sum(p => p.Memory.Estimate.PopulatedBytes));

    private IEnumerable<ProcessCapture> Watchable => _prepared.Values.Where(p => p.Memory.CanPreCopy);

    /// <summary>Processes that were running when the freeze came.</summary>
    public IEnumerable<int> Running => _captured.Where(c => !c.WasStopped).Select(c => c.Pid);

    /// <summary>While everything runs: plans, estimates, and room for the pages.</summary>
    public void Prepare()
    {
        clock.Enter("prepare");
        if (options.Tree && PreCopied.Count == 0) PlanAhead();
        try
        {
            AddAll();
        }
        finally
        {
            foreach (var plan in _plans.Values) Task.WaitAny(plan); // of one that has ended
            _plans.Clear(); // its pid may come back
        }
    }

    // The kernel walks over all of their page tables for smaps: beside the others, one by one.
    private void PlanAhead()
    {
        try
        {
            foreach (var pid in TargetTree.Descendants(options.Pid)) _plans[pid] = VmaPlan.PrepareAhead(pid, options.EmbedFiles, options.HonourDontDump);
        }
        catch (LinuxException)
        {
            // Refused (hidepid, proc(5)): it is told when the target is prepared.
        }
    }

    private void AddAll()
    {
        Add(options.Pid);
        if (options.Tree)
        {
            // In the freeze a process that is not prepared yet costs milliseconds: those born meanwhile are looked for again.
            for (var round = 0; round < PrepareRounds && PrepareDescendants(); round++) { }
        }
    }

    /// <summary>Still before the freeze: room for the pages.</summary>
    /// <param name="leastBytes">More will be written by then than what was found so far.</param>
    public void PrepareBuffer(long leastBytes = 0)
    {
        clock.Enter("buffer");
        buffer.Prepare(UseSnapshots ? _prepared.Values.Sum(p => p.Memory.EstimatedBytes - p.Memory.Estimate.SnapshotBytes)
            : Math.Max(leastBytes, EstimatedBytes));
    }

    /// <summary>Before the freeze: what speaks against snapshots; empty if nothing does.</summary>
    public string WhyNoSnapshots() => _snapshots.WhyNot(_prepared);

    /// <summary>After <see cref="SnapshotRefused"/>: the last round, for another attempt.</summary>
    public Dictionary<int, PreCopiedRound> TakeRounds()
    {
        var rounds = new Dictionary<int, PreCopiedRound>();
        foreach (var capture in _prepared.Values)
            if (capture.Memory.TakeRound() is { } round) rounds.Add(capture.Pid, round);
        return rounds;
    }

    /// <summary>Before a first round: estimated, how much of what it would read the processes change while they are looked at.</summary>
    /// <param name="first">How long that is, if the answer is plain by then.</param>
    /// <param name="whole">Else.</param>
    /// <param name="maySnapshot">Instead of a round.</param>
    /// <returns>Bytes, and the time.</returns>
    public (long Bytes, TimeSpan Time) WatchWrites(TimeSpan first, TimeSpan whole, bool maySnapshot)
    {
        clock.Enter("watch writes");
        Held?.Anticipate(HeldBytes); // a round follows, most likely
        var began = Stopwatch.GetTimestamp();
        var all = (double)RoundBytes;
        foreach (var process in Watchable) process.Memory.Estimate.WatchWrites((int)Math.Ceiling(WriteSample.MaxPages * process.Memory.Estimate.TrackableBytes / all)); // one sample of them all
        Pause.Sleep((int)first.TotalMicroseconds);
        var written = Watchable.Sum(p => p.Memory.Estimate.WrittenBytes());
        var time = Stopwatch.GetElapsedTime(began);
        if (!RoundPolicy.IsPlain(RoundBytes, written, time, whole, maySnapshot) && whole - time is { Ticks: > 0 } rest)
        {
            Pause.Sleep((int)rest.TotalMicroseconds);
            written = Watchable.Sum(p => p.Memory.Estimate.WrittenBytes());
        }

        return (written, Stopwatch.GetElapsedTime(began));
    }

    private long HeldBytes => Watchable.Where(p => p.Memory.IsContinuous).Sum(p => p.Memory.Estimate.TrackableBytes);

    /// <summary>Before a round: room for what it reads.</summary>
    public void PrepareHeld()
    {
        clock.Enter("buffer");
        Held?.Prepare(HeldBytes);
    }

    /// <summary>A round, instead of <see cref="Freeze"/>: a short freeze in which the trackers are armed. On the ptrace thread.</summary>
    public void Arm()
    {
        clock.Enter("ready");
        foreach (var process in _prepared.Values) process.BeforeFreeze();
        var noGc = NoCollections.TryBegin(NoGcBytes);
        clock.Stop();
        try
        {
            using var tree = FreezeTree(armOnly: true);
            foreach (var process in tree.Processes)
            {
                if (!_prepared.TryGetValue(process.Pid, out var capture) || !capture.Memory.CanPreCopy) continue;
                capture.BeginRound(process, watchdog);
                _captured.Add(capture);
            }

            foreach (var capture in _captured) capture.ArmFrozen(watchdog);

            watchdog.Enter("thaw");
            tree.Thaw(keepStopped: false);
            FrozenTime = tree.FrozenTime;
        }
        finally
        {
            _crew.End();
            if (noGc) NoCollections.End();
        }
    }

    /// <summary>After <see cref="Arm"/>: saves what the trackers now watch, while everything runs.</summary>
    /// <param name="windows">Where to, unless there is room for it to wait.</param>
    public Dictionary<int, PreCopiedRound> PreCopy(CopyWindows windows)
    {
        spaces.Total = _captured.Aggregate(0UL, (sum, p) => sum + p.Memory.Plan.ToRead);
        var rounds = new Dictionary<int, PreCopiedRound>();
        foreach (var idle in _prepared.Values.Except(_captured).ToList())
        {
            // Others need not wait for its record meanwhile.
            _prepared.Remove(idle.Pid);
            idle.Dispose();
        }

        try
        {
            // Each process has locks of its own. But what one gives to the store keeps all processors busy, and comes in one process after the other.
            var gone = new List<int>();
            var largestFirst = new List<ProcessCapture>(_captured);
            largestFirst.Sort(static (a, b) => b.Memory.Estimate.TrackableBytes.CompareTo(a.Memory.Estimate.TrackableBytes));
            SideBySide.ForEach(largestFirst, StoresInRound ? 1 : options.Processors, capture =>
            {
                try
                {
                    var round = capture.PreCopy(windows);
                    lock (rounds) rounds.Add(capture.Pid, round);
                }
                catch (TargetException) when (capture.Pid != options.Pid)
                {
                    lock (rounds) gone.Add(capture.Pid);
                }
            });
            // Of the tree have exited, most likely. The freeze decides who is there, and tells what is refused.
            foreach (var pid in gone) spaces.Clear(pid);

            // Of a process that can't be watched any more (it has opened a device, say) nobody knows which of the pages that it gave to the store are still its own.
            foreach (var pid in PreCopied.Keys)
                if (!rounds.ContainsKey(pid)) spaces.Clear(pid);
            return rounds;
        }
        catch
        {
            foreach (var round in rounds.Values) round.Record?.Release();
            throw;
        }
    }

    /// <summary>On the ptrace thread. Whatever happens in here, everything runs again when it returns or throws.</summary>
    public void Freeze(CancellationToken cancel)
    {
        clock.Enter("ready");
        foreach (var process in _prepared.Values) process.BeforeFreeze();
        var noGc = NoCollections.TryBegin(NoGcBytes);
        clock.Stop();
        try
        {
            using var tree = FreezeTree(armOnly: false);
            Postponed = Connections?.AnyOf(tree.Processes.Select(p => p.Pid)) == true;
            if (Postponed)
            {
                ThawUntouched(tree);
                return;
            }

            _description.NoteTime();
            foreach (var process in tree.Processes)
            {
                watchdog.ThrowIfExpired();
                var capture = _prepared.TryGetValue(process.Pid, out var known) ? known : Add(process.Pid, frozen: true);
                capture.ReadFrozen(process, watchdog);
                _captured.Add(capture);
            }

            if (UseSnapshots && !_snapshots.TryTake(_captured, tree, watchdog))
            {
                ThawUntouched(tree);
                return;
            }

            InjectionTurns.Run(_captured, tree.Processes, watchdog);

            _description.NoteZombies(tree.Zombies);
            SharedParts.Find(_captured.ConvertAll(c => c.State));
            var files = new CrewJob(() => _description.NoteFiles(_captured, watchdog.ThrowIfExpired)); // beside the memory
            try
            {
                files.Offer(_crew);
                foreach (var capture in _captured) capture.CopyFrozen(buffer, watchdog);
                watchdog.Enter("files");
                files.Complete(watchdog.ThrowIfExpired);
            }
            finally
            {
                files.Withdraw(); // before any thaw: it holds duplicates of their open files, and peeks into their sockets
            }

            cancel.ThrowIfCancellationRequested();
            watchdog.Enter("thaw");
            tree.Thaw(options.KeepStopped);
            FrozenTime = tree.FrozenTime;
            _snapshots.Watch(_captured);
        }
        finally
        {
            _crew.End();
            if (noGc) NoCollections.End();
        }
    }

    // Nothing was reset yet: they go on as if nothing had been.
    private void ThawUntouched(FrozenTree tree)
    {
        watchdog.Enter("thaw");
        tree.Thaw(keepStopped: false);
        FrozenTime = tree.FrozenTime;
    }

    /// <summary>After <see cref="Freeze"/>: what will have content, process by process.</summary>
    public IReadOnlyList<SpaceContent> Content() => _captured.ConvertAll(c => new SpaceContent(c.Space, c.Memory.Content()));

    /// <summary>What will have to be copied in the freeze, as far as is known; after <see cref="Prepare"/>.</summary>
    public long EstimatedBytes => _prepared.Values.Sum(p => p.Memory.EstimatedBytes);

    /// <summary>Gives it all to the store; returns how many sampled "clean" pages were not, and whose word that was.</summary>
    public (int Lies, TrackerKind Liar) Deliver()
    {
        spaces.Total = _captured.Aggregate(0UL, (sum, p) => sum + p.Memory.PagesDirty);
        _snapshots.Read(_captured, clock);
        foreach (var capture in _captured) capture.Memory.Deliver();
        buffer.DrainAndRelease();
        var (lies, liar) = (0, TrackerKind.Unspecified);
        foreach (var memory in _captured.Select(c => c.Memory))
        {
            var found = memory.CheckSamples().Count;
            if (found > 0) (lies, liar) = (lies + found, memory.Tracker);
        }

        return (lies, liar);
    }

    /// <summary>The manifest but for what the store and the session fill in. A second time, after <see cref="Deliver"/>, with what was found out there.</summary>
    public CheckpointManifest Describe() => _description.Describe(_captured, Rehearsal, StoppedBefore);

    public void Dispose()
    {
        _snapshots.Dispose();
        foreach (var capture in _prepared.Values) capture.Dispose();
        // Of processes that are gone. The others' records belong to whoever comes next, or went with what is prepared.
        foreach (var (pid, round) in PreCopied)
            if (!_prepared.ContainsKey(pid)) round.Record?.Release();
        _crew.Dispose();
        buffer.Clear();
    }

    private FrozenTree FreezeTree(bool armOnly)
    {
        _processorClocks.Measure();
        var tree = FrozenTree.Freeze(options.Pid, options.Tree, new FreezeOptions { Watchdog = watchdog });
        try
        {
            foreach (var process in tree.Processes)
                if (_prepared.TryGetValue(process.Pid, out var capture)) capture.ReadSleeps(process, armOnly);
            return tree;
        }
        catch
        {
            tree.Dispose();
            throw;
        }
    }

    // True if any was new. Zombies have nothing to prepare, and what exits meanwhile doesn't matter: the freeze decides who is there.
    private bool PrepareDescendants()
    {
        var found = false;
        foreach (var pid in TargetTree.Descendants(options.Pid))
        {
            if (_prepared.ContainsKey(pid) || TargetTree.HasEnded(pid)) continue;
            try
            {
                Add(pid);
                found = true;
            }
            catch (CrstoreException) when (TargetTree.HasEnded(pid))
            {
                // It exited while it was being looked at.
            }
        }

        return found;
    }

    // One that is found only in the freeze is read in full: its continuity record could have to be waited for.
    private ProcessCapture Add(int pid, bool frozen = false)
    {
        var (id, space, parent) = spaces.Open(pid);
        var round = PreCopied.GetValueOrDefault(pid);
        var capture = ProcessCapture.Prepare(id, new MemoryRequest
        {
            Round = round,
            Vmas = _plans.Remove(pid, out var plan) ? plan : null,
            Held = Held,
            Pid = pid,
            Options = options,
            Space = space,
            Parent = round?.Link ?? parent,
            StoreId = writer.StoreId,
            Crid = writer.Crid,
            Distrusted = writer.DistrustedTrackers,
            Rehearsal = Rehearsal,
            LockWait = options.LockWait,
            Watchdog = watchdog,
            Crew = _crew,
            ReadEverything = ReadEverything || frozen,
        }, files, _processorClocks);
        _prepared.Add(pid, capture);
        return capture;
    }
}

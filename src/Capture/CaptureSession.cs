using Crstore.Linux;
using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Capture.Snapshots;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>
/// One capture from rehearsal to commit: the main path. Freeze, read state, scan, reset and copy, thaw; then hash, dedup, compress
/// and commit through the <see cref="ICheckpointWriter"/>. Where there is much to copy, rounds go before it while the target runs: docs/ARCHITECTURE.md.
/// </summary>
public static class CaptureSession
{
    /// <summary>Captures into the writer and commits. The target runs again (or is stopped as asked) when this returns or throws.</summary>
    /// <exception cref="TargetException">Gone, refused, or it cannot be stopped.</exception>
    /// <exception cref="FrozenTooLongException">The limit on frozen time; the attempt is void.</exception>
    /// <exception cref="OperationCanceledException">Interrupted; nothing was committed.</exception>
    public static CheckpointManifest Run(CaptureOptions options, ICheckpointWriter writer, IProgress<CaptureProgress>? progress, CancellationToken cancel)
    {
        using var kit = CaptureKit.ForOne();
        return Run(options, writer, kit, progress, cancel);
    }

    /// <summary>The same with what an earlier one has left ready.</summary>
    public static CheckpointManifest Run(CaptureOptions options, ICheckpointWriter writer, CaptureKit kit, IProgress<CaptureProgress>? progress, CancellationToken cancel)
    {
        var clock = writer.Clock;
        var (files, buffer) = (kit.Files, kit.Buffer);
        using var thread = new PtraceThread(); // its end lets go of threads that could not be detached, since they did not stop in time
        using var watchdog = new FreezeWatchdog(options.MaxFrozen);
        using var way = new GivingWay(options.Nice, options.UsualNice, options.MayStayNice, thread);
        way.Give(last: false);

        buffer.SetBudget(options.BufferBytes);
        using var held = new HeldMemory(buffer);
        using var windows = new CopyWindows();
        if (writer.Parent is null && !MayPreCopy(options) && options.Snapshot != SnapshotPolicy.Always) Anticipate(options, buffer);
        kit.Rehearse(options); // beside the first preparations, unless it is under way or behind us

        using var spaces = new SpaceTable(writer, watchdog, progress, cancel);
        var connections = options.Tcp == TcpPolicy.Wait ? new TcpConnections(options) : null;
        var frozen = TimeSpan.Zero;
        var lies = 0;
        var announced = false;
        TrackerKind? distrust = null;
        IReadOnlySet<int> stopped = new HashSet<int>();
        var snapshots = options.KeepStopped || writer.ParentIsPending ? SnapshotPolicy.Never : options.Snapshot; // a copy must not wait for a parent
        Dictionary<int, PreCopiedRound>? kept = null;
        var notes = new List<string>();
        while (true)
        {
            try
            {
                if (Attempt() is { } manifest) return manifest;
            }
            catch (ParentPendingException)
            {
                // Not before the attempt is over: it has the target's record, which the parent needs if it has to freeze the target anew, and others too.
                AwaitParent();
                held.Clear();
                spaces.Clear();
            }
        }

        // Null if it has to be made once more: its tracker was caught lying, or there is no snapshot.
        CheckpointManifest? Attempt()
        {
            Await();
            using var attempt = Begin(distrust is not null);
            if (writer.ParentIsPending && attempt.EstimatedBytes > buffer.BudgetBytes) throw new ParentPendingException(); // what finds no room would have to be stored in the freeze
            do
            {
                Await();
                way.TakeBack();
                cancel.ThrowIfCancellationRequested();
                try
                {
                    thread.Run(() => attempt.Freeze(cancel));
                }
                catch (ParentPendingException)
                {
                    // More was written than was expected. What the trackers said is used up: everything is read again.
                    frozen += watchdog.Phases.Aggregate(TimeSpan.Zero, (sum, phase) => sum + phase.Time);
                    clock.AddFrozen(watchdog.Phases);
                    throw;
                }

                frozen += attempt.FrozenTime;
                clock.AddFrozen(watchdog.Phases);
            }
            while (attempt.Postponed);

            if (attempt.SnapshotRefused is { Length: > 0 } refused)
            {
                GiveUpSnapshots($"no snapshot: {refused}");
                kept = attempt.TakeRounds();
                return null;
            }

            Announce(attempt);
            way.Give(last: true);
            AwaitParent();
            clock.Enter("store");
            var (found, liar) = (0, TrackerKind.Unspecified);
            try
            {
                (found, liar) = attempt.Deliver();
            }
            catch (SnapshotLostException e)
            {
                // What it had is not to be had any more: the target has gone on. Its dirty state was reset for this, so nothing is kept now.
                GiveUpSnapshots($"the snapshot was given up, and all was captured anew: {e.Message}");
                held.Clear();
                spaces.Clear();
                return null;
            }

            held.Clear();
            lies += found;
            if (found > 0 && distrust is null)
            {
                // The pages it called clean were not: nothing it said may be believed. Everything is read again.
                distrust = liar;
                if (options.KeepStopped) stopped = attempt.Running.ToHashSet();
                spaces.Clear();
                return null;
            }

            clock.Enter("describe");
            way.TakeBack(); // others may wait for the lock that comes next
            if (!options.RequireRestartable) writer.Approach(); // what that looks at may be on a file system that is slow
            var manifest = attempt.Describe();
            manifest.Header.FrozenNs = (ulong)(frozen.Ticks * 100);
            manifest.Header.Pages.Lies = (ulong)lies;
            if (distrust is { } caught)
                manifest.Body.Warnings.Insert(0, $"the {caught} tracker called {lies} changed pages clean: everything was read again, and it is not trusted in this series any more");
            manifest.Body.Warnings.AddRange(notes);
            manifest.Header.Warnings = (uint)manifest.Body.Warnings.Count;
            if (options.RequireRestartable) Admission.RequireRestartable(manifest);
            cancel.ThrowIfCancellationRequested();
            clock.Stop();
            options.Described?.Invoke(manifest);
            writer.Commit(manifest, distrust, header => header.TotalNs = (ulong)(System.Diagnostics.Stopwatch.GetElapsedTime(options.StartedAt).Ticks * 100));
            manifest.Body.Phases.Clear();
            manifest.Body.Phases.AddRange(clock.Report()); // what is stored can't tell of the time after it
            return manifest;
        }

        void GiveUpSnapshots(string why)
        {
            notes.Add(why);
            snapshots = SnapshotPolicy.Never;
        }

        void AwaitParent()
        {
            if (!writer.ParentIsPending) return;
            clock.Enter("parent");
            progress?.Report(new CaptureProgress("waiting for the parent", 0, 0));
            writer.AwaitParent();
        }

        void Announce(CaptureAttempt attempt)
        {
            if (announced || options.Thawed is not { } thawed) return;
            clock.Enter("announce");
            var manifest = attempt.Describe();
            manifest.Header.FrozenNs = (ulong)(frozen.Ticks * 100);
            manifest.Header.Warnings = (uint)manifest.Body.Warnings.Count;
            if (options.RequireRestartable) Admission.RequireRestartable(manifest);
            announced = true;
            thawed(manifest, attempt.Content());
        }

        // For --tcp wait: before anything is prepared, and before each freeze.
        void Await()
        {
            if (connections is null) return;
            clock.Enter("connections");
            connections.AwaitNone(cancel);
        }

        // An attempt that is ready for its freeze, as many rounds from the running processes behind it as are worth a freeze each.
        CaptureAttempt Begin(bool readEverything)
        {
            var attempt = Prepare(kept);
            kept = null;
            var policy = new RoundPolicy(options);
            // Asked for by name a snapshot makes rounds needless.
            if (snapshots == SnapshotPolicy.Always && options.PreCopy != PreCopyPolicy.Always) Guard(() => ChooseSnapshots(attempt, 0));
            while (!attempt.UseSnapshots && attempt.CanPreCopy && policy.IsWorthAnother(attempt.RoundBytes, attempt.WalkedBytes, attempt.IsBase))
            {
                if (policy.Done == 0 && options.PreCopy == PreCopyPolicy.Auto && IsHopeless())
                {
                    held.Trim(); // the freeze needs the room
                    break;
                }

                Dictionary<int, PreCopiedRound> round;
                using (attempt)
                {
                    if (writer.ParentIsPending && (attempt.StoresInRound || attempt.RoundBytes > buffer.BudgetBytes / 2)) throw new ParentPendingException();
                    policy.Begin(attempt.RoundBytes, attempt.IsBase);
                    attempt.PrepareHeld();
                    way.TakeBack();
                    cancel.ThrowIfCancellationRequested();
                    thread.Run(attempt.Arm);
                    frozen += attempt.FrozenTime;
                    var name = $"round {policy.Done} ";
                    clock.AddFrozen(watchdog.Phases, name);
                    clock.Enter(name + "pre-copy");
                    if (attempt.StoresInRound) way.Give(last: false); // others are read within milliseconds, in which little is written
                    round = attempt.PreCopy(windows);
                    way.TakeBack();
                }

                attempt = Prepare(round);
            }

            Guard(() =>
            {
                if (!readEverything && !attempt.UseSnapshots) ChooseSnapshots(attempt, policy.GivenUpBytes);
                attempt.PrepareBuffer(policy.GivenUpBytes);
            });
            return attempt;

            void Guard(Action work)
            {
                try
                {
                    work();
                }
                catch
                {
                    attempt.Dispose();
                    throw;
                }
            }

            bool IsHopeless()
            {
                var (hopeless, bytes) = (false, attempt.RoundBytes);
                Guard(() =>
                {
                    var maySnapshot = snapshots == SnapshotPolicy.Auto && SnapshotPays(attempt, bytes) && attempt.WhyNoSnapshots().Length == 0;
                    var (whole, first) = RoundPolicy.WatchTime(bytes, maySnapshot);
                    var (written, time) = attempt.WatchWrites(first, whole, maySnapshot);
                    hopeless = policy.IsHopeless(bytes, written, time, attempt.IsBase, maySnapshot, wasHot: attempt.HotBytes >= RoundPolicy.NearlyAll * bytes);
                });
                return hopeless;
            }

            void ChooseSnapshots(CaptureAttempt last, long leastBytes)
            {
                if (!SnapshotPays(last, leastBytes)) return;
                var whyNot = last.WhyNoSnapshots();
                last.UseSnapshots = whyNot.Length == 0;
                if (snapshots == SnapshotPolicy.Always && whyNot.Length > 0) GiveUpSnapshots($"no snapshot: {whyNot}");
            }

            bool SnapshotPays(CaptureAttempt last, long leastBytes)
            {
                var (copied, populated) = last.SnapshotSize;
                return SnapshotChoice.Pays(snapshots, Math.Max(copied, leastBytes), populated);
            }

            CaptureAttempt Prepare(Dictionary<int, PreCopiedRound>? round)
            {
                var prepared = thread.Run(NewAttempt); // its crew is of that thread's priority
                CaptureAttempt NewAttempt() => new(options, writer, spaces, files, buffer, watchdog, clock) { ReadEverything = readEverything, Connections = connections, StoppedBefore = stopped, PreCopied = round ?? [], Held = held };
                try
                {
                    try
                    {
                        prepared.Prepare();
                    }
                    finally
                    {
                        clock.Enter("rehearse");
                        kit.AwaitRehearsal();
                    }

                    return prepared;
                }
                catch
                {
                    prepared.Dispose();
                    throw;
                }
            }
        }
    }

    private static bool MayPreCopy(CaptureOptions options) =>
        options.PreCopy != PreCopyPolicy.Never && (options.Tracker is null or TrackerKind.Uffd) && KernelProbes.Current.UffdWriteProtect;

    /// <summary>A base reads everything, so the buffer can be faulted in beside the rehearsal and the preparations. A guess that fails is none.</summary>
    private static void Anticipate(CaptureOptions options, PageBuffer buffer)
    {
        if (options.Exclude.Count > 0 || options.HonourDontDump) return; // who knows how much is left
        try
        {
            buffer.Anticipate(TargetTree.PrivateBytes(options));
        }
        catch (Linux.LinuxException)
        {
            // The target's refusal is told when the target is prepared.
        }
    }
}

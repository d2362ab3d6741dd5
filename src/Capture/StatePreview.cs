using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Capture;

/// <summary>What a checkpoint of a process would say of it, without its memory: for `check`. The process is frozen for a moment.</summary>
public static class StatePreview
{
    /// <summary>Reads a process, or a tree.</summary>
    /// <param name="pid">Its root.</param>
    /// <param name="tree">All descendants too.</param>
    /// <param name="wait">How to wait for a capture of one of them.</param>
    /// <param name="maxFrozen">The longest it may be frozen; null: as for a capture that is not told.</param>
    /// <exception cref="TargetException">Gone, or it may not be looked at.</exception>
    /// <exception cref="FrozenTooLongException">The limit was reached.</exception>
    public static CheckpointBody Read(int pid, bool tree, LockWait wait, TimeSpan? maxFrozen = null)
    {
        var options = new CaptureOptions { Pid = pid };
        using var ptrace = new PtraceThread();
        Rehearse(ptrace, options.MaxFrozen);
        return Read(ptrace, pid, tree, wait, maxFrozen ?? options.MaxFrozen, rehearsal: false);
    }

    // As before a capture: what is prepared at first use must not happen while the process stands still.
    private static void Rehearse(PtraceThread ptrace, TimeSpan maxFrozen)
    {
        using var victim = Rehearsal.TryStart();
        if (victim is null) return;
        try
        {
            Read(ptrace, victim.Pid, tree: false, LockWait.Default, maxFrozen, rehearsal: true);
        }
        catch (CrstoreException)
        {
            // The same refusal meets the process itself next, where it can be told in its name.
        }
    }

    private static CheckpointBody Read(PtraceThread ptrace, int pid, bool tree, LockWait wait, TimeSpan maxFrozen, bool rehearsal)
    {
        var files = new FileRefs();
        using var watchdog = new FreezeWatchdog(maxFrozen);
        var prepared = new Dictionary<int, (ProcessStateReader Reader, VmaPlan Plan, SleepWatch Sleeps)>();
        var clocks = new ProcessorClocks();
        var readers = new List<ProcessStateReader>();
        var plans = new List<VmaPlan>();
        var body = new CheckpointBody { Host = HostReader.Read() };
        try
        {
            Prepare(pid);
            if (tree) PrepareDescendants();
            foreach (var (_, _, sleeps) in prepared.Values) sleeps.Observe();
            ptrace.Run(() =>
            {
                clocks.Measure();
                using var frozen = FrozenTree.Freeze(pid, tree, new FreezeOptions { Watchdog = watchdog });
                foreach (var process in frozen.Processes)
                    if (prepared.TryGetValue(process.Pid, out var known)) known.Sleeps.ReadFrozen(process, withStat: false);
                foreach (var process in frozen.Processes)
                {
                    watchdog.ThrowIfExpired();
                    if (!prepared.ContainsKey(process.Pid)) Prepare(process.Pid); // born meanwhile
                    var (reader, plan, _) = prepared[process.Pid];
                    reader.ReadFrozen(process);
                    using (var remote = RemoteSyscalls.TryBegin(process, out var whyNot))
                    {
                        reader.ReadLocks(remote);
                        reader.ReadInjected(remote, whyNot ?? "");
                    }

                    plan.Refresh();
                    readers.Add(reader);
                    plans.Add(plan);
                }

                SharedParts.Find(readers.ConvertAll(r => r.Message));
                body.OpenFiles.AddRange(FileDump.Run(readers.ConvertAll(r => r.Message), new ContentSaver(withFiles: false, plans.SelectMany(p => p.SavedFileRanges)), watchdog.ThrowIfExpired));
                foreach (var zombie in frozen.Zombies) body.Processes.Add(ProcessStateReader.ReadZombie(zombie));
            });
            for (var i = 0; i < readers.Count; i++)
            {
                var message = readers[i].Build();
                plans[i].CompleteAfterThaw();
                message.Vmas.AddRange(plans[i].Vmas.Select(v => v.ToMessage()));
                body.Processes.Insert(i, message);
                var parked = message.Fds.FirstOrDefault(f => f.Link == "anon_inode:[userfaultfd]");
                body.Proofs.Add(new TrackerProof { Pid = message.Pid, UffdFd = CapturePreview.Of(message.Pid, wait).Parked ? parked?.Number ?? 0 : 0 });
            }

            return body;
        }
        catch (LinuxException e)
        {
            throw TargetErrors.From(e, pid);
        }
        finally
        {
            foreach (var (reader, _, _) in prepared.Values) reader.Dispose();
        }

        void Prepare(int id)
        {
            var plan = new VmaPlan(id, embedFiles: false, honourDontDump: false);
            plan.Prepare();
            var reader = ProcessStateReader.Prepare(id, files);
            prepared.Add(id, (reader, plan, new SleepWatch(id, reader.Directory, [], clocks, rehearsal)));
        }

        void PrepareDescendants()
        {
            var found = new List<int> { pid };
            for (var i = 0; i < found.Count; i++) found.AddRange(TaskList.Children(found[i]).Except(found));
            foreach (var id in found.Skip(1))
            {
                try
                {
                    Prepare(id);
                }
                catch (Exception e) when (e is LinuxException or TargetException)
                {
                    // It has exited, most likely. The freeze decides who is there, and tells what is refused.
                }
            }
        }
    }
}

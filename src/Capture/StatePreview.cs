using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Capture;

/// <summary>What a checkpoint of a process would say of it, without its memory: for `check`. The process is frozen for a moment.</summary>
public static class StatePreview
{
    /// <summary>Reads a process, or a tree.</summary>
    /// <exception cref="TargetException">Gone, or it may not be looked at.</exception>
    public static CheckpointBody Read(int pid, bool tree)
    {
        var files = new FileRefs();
        using var ptrace = new PtraceThread();
        using var watchdog = new FreezeWatchdog(new CaptureOptions { Pid = pid }.MaxFrozen);
        var readers = new List<ProcessStateReader>();
        var plans = new List<VmaPlan>();
        var body = new CheckpointBody { Host = HostReader.Read() };
        try
        {
            ptrace.Run(() =>
            {
                using var frozen = FrozenTree.Freeze(pid, tree, new FreezeOptions { Watchdog = watchdog });
                foreach (var process in frozen.Processes)
                {
                    watchdog.ThrowIfExpired();
                    var reader = ProcessStateReader.Prepare(process.Pid, files);
                    readers.Add(reader);
                    reader.ReadFrozen(process);
                    using (var remote = RemoteSyscalls.TryBegin(process, out var whyNot)) reader.ReadInjected(remote, whyNot ?? "");
                    var plan = new VmaPlan(process.Pid, embedFiles: false, honourDontDump: false);
                    plans.Add(plan);
                    plan.Prepare();
                    plan.Refresh();
                }

                SharedParts.Find(readers.ConvertAll(r => r.Message));
                body.OpenFiles.AddRange(FileDump.Run(readers.ConvertAll(r => r.Message), new ContentSaver(withFiles: false, plans.SelectMany(p => p.SavedFileRanges))));
                foreach (var zombie in frozen.Zombies) body.Processes.Add(ProcessStateReader.ReadZombie(zombie));
            });
            for (var i = 0; i < readers.Count; i++)
            {
                var message = readers[i].Build();
                plans[i].CompleteAfterThaw();
                message.Vmas.AddRange(plans[i].Vmas.Select(v => v.ToMessage()));
                body.Processes.Insert(i, message);
                var parked = message.Fds.FirstOrDefault(f => f.Link == "anon_inode:[userfaultfd]");
                body.Proofs.Add(new TrackerProof { Pid = message.Pid, UffdFd = IsOurs(message.Pid) ? parked?.Number ?? 0 : 0 });
            }

            return body;
        }
        catch (LinuxException e)
        {
            throw TargetErrors.From(e, pid);
        }
        finally
        {
            foreach (var reader in readers) reader.Dispose();
        }
    }

    private static bool IsOurs(int pid) => CapturePreview.Of(pid).Parked;
}

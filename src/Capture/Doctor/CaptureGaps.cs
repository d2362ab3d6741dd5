using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Doctor;

/// <summary>Something of a process that a capture could not save.</summary>
/// <param name="What">The process itself, a mapping, a kind of state.</param>
/// <param name="Why">The reason, with the call and errno where there is one.</param>
/// <param name="Hint">What to do about it, or null.</param>
/// <param name="Fatal">True if nothing at all could be captured.</param>
public sealed record CaptureGap(string What, string Why, string? Hint, bool Fatal);

/// <summary>
/// What couldn't be captured of a process and why, for `doctor PID`: found by trying. The process is frozen for the time
/// of a seize and a state reading (well under a millisecond for most) and nothing is injected.
/// </summary>
public static class CaptureGaps
{
    /// <summary>All gaps, fatal ones first; empty if a capture would be complete.</summary>
    /// <exception cref="TargetException">There is no such process.</exception>
    /// <param name="pid">The process.</param>
    /// <param name="parkedByUs">userfaultfds in it that crstore itself has parked there: no state of the target.</param>
    public static IReadOnlyList<CaptureGap> Find(int pid, int parkedByUs = 0)
    {
        var gaps = new List<CaptureGap>();
        TryState(pid, parkedByUs, gaps);
        if (gaps.Exists(g => g.Fatal))
            return gaps;
        FindMappings(pid, gaps);
        return gaps;
    }

    private static void TryState(int pid, int parkedByUs, List<CaptureGap> gaps)
    {
        if (TaskStat.Read(pid) is null)
            throw TargetErrors.Gone(pid);
        using var ptrace = new PtraceThread();
        try
        {
            using var reader = ProcessStateReader.Prepare(pid, new FileRefs());
            string? whyNoInjection = null;
            var clocks = new ProcessorClocks();
            var sleeps = new SleepWatch(pid, reader.Directory, [], clocks, rehearsal: false);
            sleeps.Observe();
            ptrace.Run(() =>
            {
                clocks.Measure();
                using var tree = FrozenTree.Freeze(pid, tree: false, new FreezeOptions());
                var process = tree.Processes[0];
                sleeps.ReadFrozen(process, withStat: false);
                reader.ReadFrozen(process);
                using var remote = RemoteSyscalls.TryBegin(process, out whyNoInjection);
                if (process.Leader.Tid != pid)
                    gaps.Add(new CaptureGap("main thread", "it has exited (pthread_exit) while others go on", null, Fatal: false));
            });
            var message = reader.Build();
            gaps.AddRange(reader.Warnings.Select(w => new CaptureGap("process state", w, null, Fatal: false)));
            if (whyNoInjection is not null)
                gaps.Add(new CaptureGap("signal handlers, interval timers, alternate stacks, tid addresses, break",
                    $"no system call can be made inside the process: {whyNoInjection}", "cores and raw images do not need them", Fatal: false));
            AddFds(message, parkedByUs, gaps);
        }
        catch (CrstoreException e)
        {
            gaps.Add(new CaptureGap(TargetErrors.Name(pid), e.Message, e.Hint, Fatal: true));
        }
    }

    // What can't be made anew is told object by object by `check`; these are not even looked at.
    private static void AddFds(Process message, int parkedByUs, List<CaptureGap> gaps)
    {
        foreach (var (kind, what) in new[]
        {
            ("anon_inode:[io_uring]", "io_uring rings in flight"),
            ("anon_inode:[userfaultfd]", "its userfaultfd"),
        })
        {
            var count = message.Fds.Count(f => f.Link.StartsWith(kind, StringComparison.Ordinal));
            if (kind == "anon_inode:[userfaultfd]") count -= parkedByUs;
            if (count > 0)
                gaps.Add(new CaptureGap(what, string.Create(CultureInfo.InvariantCulture, $"{count} open; they are listed, what the kernel holds for them is not saved"), null, Fatal: false));
        }
    }

    private static void FindMappings(int pid, List<CaptureGap> gaps)
    {
        var plan = new VmaPlan(pid, embedFiles: false, honourDontDump: false);
        try
        {
            plan.Prepare();
        }
        catch (LinuxException e)
        {
            gaps.Add(new CaptureGap("memory", e.Message, "run crstore as root, as the process's user, or with CAP_SYS_PTRACE", Fatal: true));
            return;
        }
        // The kernel's own pages (vvar, vsyscall) are in every process and in no image: no gap.
        foreach (var vma in plan.Vmas.Where(v => v.Content == VmaContent.NotCaptured && !v.Entry.Name.StartsWith("[v", StringComparison.Ordinal)))
        {
            gaps.Add(new CaptureGap(string.Create(CultureInfo.InvariantCulture, $"mapping {vma.Entry.Start:x}-{vma.Entry.End:x} {vma.Entry.Name}"),
                vma.Reason, "reading it could act on the device; it is left out", Fatal: false));
        }
    }
}

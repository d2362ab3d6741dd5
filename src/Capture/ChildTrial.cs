using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;

namespace Crstore.Capture;

/// <summary>ptrace(2) and process_vm_readv(2) tried on a child of our own: what a capture of our own processes needs first of all.</summary>
/// <param name="PtraceProblem">Why a child could not be seized, stopped and let go; empty if it could.</param>
/// <param name="ReadProblem">Why its memory could not be read; empty if it could.</param>
public sealed record ChildTrial(string PtraceProblem, string ReadProblem)
{
    private const int StopTries = 2000;
    private const int StopPauseUs = 1000;

    /// <summary>Makes the trial. A container's seccomp filter and yama ptrace_scope 3 show here.</summary>
    public static ChildTrial Run()
    {
        using var thread = new PtraceThread();
        return thread.Run(() =>
        {
            using var child = Rehearsal.TryStart();
            return child is null
                ? new ChildTrial("there is neither /bin/cat nor /bin/sh to try it on", "not tried")
                : new ChildTrial(TryPtrace(child.Pid), TryRead(child.Pid));
        });
    }

    private static string TryPtrace(int pid)
    {
        var error = Ptrace.TrySeize(pid, PtraceOptions.TraceSysGood);
        if (error != 0) return $"PTRACE_SEIZE: {Errno.Describe(error)}";
        error = Ptrace.TryInterrupt(pid);
        if (error != 0) return $"PTRACE_INTERRUPT: {Errno.Describe(error)}";
        for (var tries = 0; ChildWait.Poll(pid).Kind != WaitKind.Stopped; tries++)
        {
            if (tries == StopTries) return "a seized child did not stop";
            Pause.Sleep(StopPauseUs);
        }
        error = Ptrace.TryDetach(pid);
        return error == 0 ? "" : $"PTRACE_DETACH: {Errno.Describe(error)}";
    }

    private static string TryRead(int pid)
    {
        try
        {
            var maps = new List<MapsEntry>();
            new MapsParser().ReadMaps(pid, maps);
            // Any readable page will do; the stack always has one at its end.
            var stack = maps.First(area => area.Name == "[stack]");
            var page = new byte[Crstore.Model.VirtualPage.Size];
            var read = RemoteMemory.TryRead(pid, [new RemoteSpan(stack.End - (ulong)page.Length, (ulong)page.Length)], page);
            return read == page.Length ? "" : read < 0 ? Errno.Describe((int)-read) : $"{read} of {page.Length} bytes read";
        }
        catch (LinuxException error)
        {
            return error.Message;
        }
    }
}

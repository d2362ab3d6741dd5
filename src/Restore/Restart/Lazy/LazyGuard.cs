using Crstore.Linux;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>
/// A process that keeps the userfaultfds open beyond crstore's own end: a process that dies closes its files before it ends those that it traces, and whoever
/// waited for a page in between would go on with zeros. It waits until crstore is gone, then until the programs are (which the kernel kills,
/// PTRACE_O_EXITKILL), and ends. crstore ends it when all memory is filled.
/// </summary>
internal sealed class LazyGuard : IDisposable
{
    private const long Read = 0, Poll = 7; // syscall_64.tbl
    private readonly SafeFileHandle alive; // its end is crstore's

    private LazyGuard(int pid, SafeFileHandle alive) => (Pid, this.alive) = (pid, alive);

    /// <summary>Its id; crstore's child, not traced.</summary>
    public int Pid { get; }

    /// <summary>Starts it. On the ptrace thread.</summary>
    /// <param name="place">An address below 2 GiB.</param>
    /// <param name="spaces">What it guards.</param>
    /// <param name="made">Gets its id at once, so that it can be ended.</param>
    public static LazyGuard Start(ulong place, IReadOnlyList<LazySpace> spaces, List<int> made)
    {
        var (ended, alive) = Spawn.Pipe();
        using (ended)
        {
            SafeFileHandle[] files = [ended, .. spaces.Select(s => s.Handle.Handle), .. spaces.Select(s => s.Faults.Handle)];
            var inheritance = new Inheritance(Inheritance.FirstAboveOwn());
            foreach (var file in files) inheritance.Add(file);
            inheritance.Check();
            var stub = Stub.Start(place, inheritance.Files);
            made.Add(stub.Tid);
            stub.Queue("setsid", SystemCalls.SetSid); // what a terminal sends, or somebody to crstore's group, is not for it
            stub.Queue("prctl(PR_SET_NAME)", SystemCalls.Prctl, SystemCalls.PrSetName, (long)stub.Place("lazy-guard\0"u8));
            stub.Queue("close_range", SystemCalls.CloseRange, 0, inheritance.First - 1, 0);
            stub.Queue("prctl(PR_SET_PDEATHSIG)", SystemCalls.Prctl, SystemCalls.PrSetPdeathsig, 0, 0, 0, 0);
            stub.Flush();
            var one = stub.Place(stackalloc byte[8]);
            stub.Queue("read", Read, inheritance.First, (long)one, 1);
            for (var i = 0; i < spaces.Count; i++)
            {
                var pollfd = new byte[8]; // struct pollfd: fd, events
                BitConverter.TryWriteBytes(pollfd, inheritance.First + 1 + i);
                pollfd[4] = 1; // POLLIN: it has ended
                stub.Queue("poll", Poll, (long)stub.Place(pollfd), 1, -1);
            }

            stub.Queue("exit_group", SystemCalls.ExitGroup, 0);
            stub.Leave();
            return new LazyGuard(stub.Tid, alive);
        }
    }

    /// <summary>Ends it: all memory is filled, or nobody is left to be guarded.</summary>
    public void End() => Signals.TryKill(Pid, Signals.SIGKILL);

    /// <inheritdoc/>
    public void Dispose() => alive.Dispose();
}

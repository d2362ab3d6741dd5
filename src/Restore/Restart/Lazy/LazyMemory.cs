using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>All memory of a restart that is filled while the processes run, and what serves it until it is.</summary>
internal sealed class LazyMemory : IDisposable
{
    private readonly HashSet<Vma> vmas = new(ReferenceEqualityComparer.Instance);
    private readonly List<LazySpace> spaces = [];
    private readonly Lock gate = new();
    private FaultServer? server;
    private readonly List<PidFd> others = []; // processes with none of it
    private Exception? failure;
    private Action? told;

    /// <summary>Decides what is filled later.</summary>
    /// <param name="image">The checkpoint.</param>
    /// <param name="body">Its processes, as they are restarted.</param>
    /// <param name="mapped">Its mapped files and shared memory.</param>
    /// <param name="stopped">They are not to run.</param>
    /// <param name="warnings">Gets why nothing is.</param>
    public LazyMemory(ICheckpointImage image, CheckpointBody body, MappedFiles mapped, bool stopped, List<string> warnings)
    {
        if (stopped)
        {
            warnings.Add("--lazy: it stays stopped, so all memory is filled first");
            return;
        }

        using (var trial = Userfaultfd.TryCreate(Userfaultfd.CreateFlagsForKernelFaults, out var error))
        {
            if (trial is null)
            {
                warnings.Add($"--lazy: all memory is filled first: userfaultfd: {Errno.Describe(error)}; it needs root (CAP_SYS_PTRACE)");
                return;
            }
        }

        foreach (var process in body.Processes.Where(p => !p.Zombie))
        {
            var source = new ProcessImage(image, process, mapped.Backings);
            var chosen = LazyPlan.Of(source, mapped);
            if (chosen.Count == 0) continue;
            vmas.UnionWith(chosen);
            spaces.Add(new LazySpace(source, chosen));
        }
    }

    /// <summary>One for each process that has some.</summary>
    public IReadOnlyList<LazySpace> Spaces => spaces;

    /// <summary>Why it could not go on: those who run were killed. Null: it could.</summary>
    public Exception? Failure => Volatile.Read(ref failure);

    /// <summary>True if it is filled later.</summary>
    public bool Has(Vma vma) => vmas.Contains(vma);

    /// <summary>The process's, or null.</summary>
    public LazySpace? Of(Restarted process) => spaces.Find(s => s.Message.Pid == process.Message.Pid);

    /// <summary>Makes it so, and serves it from now on: the calls of puppets may need pages, too. On the ptrace thread.</summary>
    /// <param name="processes">They have all their mappings, without a page in them.</param>
    public void Register(IReadOnlyList<Restarted> processes)
    {
        foreach (var process in processes)
        {
            if (Of(process) is not { } space) others.Add(PidFd.Open(process.Leader.Tid));
            else if (!space.TryRegister(process.Leader)) throw new EnvironmentException($"process {process.Message.Pid}: it can't have a userfaultfd", "restart it without --lazy");
        }

        server = new FaultServer(spaces, Fail);
    }

    /// <summary>
    /// Fills what its threads touch first, what crstore reads of it (it would wait for ever for a page that can't be made), and what the kernel may touch when
    /// they exit, when nobody can be waited for. On the ptrace thread.
    /// </summary>
    /// <param name="process">It has its threads.</param>
    /// <param name="cancel">Ends it.</param>
    public void Warm(Restarted process, CancellationToken cancel)
    {
        if (Of(process) is not { } space) return;
        var seen = new HashSet<ulong>();
        foreach (var thread in process.Message.Threads)
        {
            var regs = UserRegs.FromBytes(thread.Registers.Span);
            foreach (var address in new[] { regs.Rip, regs.Rsp, regs.FsBase, thread.TidAddress, thread.RobustListHead, thread.Rseq?.Address ?? 0, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10 })
                if (address != 0 && seen.Add(address >> VirtualPage.Shift)) space.Serve(address);
        }

        // A lock that its holder's end is to mark, get_robust_list(2), may be anywhere; those taken later are in pages that are there.
        if (process.Message.Threads.Any(t => t.RobustListHead != 0 && !IsEmptyList(process.Leader, t.RobustListHead))) space.Settle(0, ulong.MaxValue, cancel);
    }

    /// <summary>Has somebody told when it fails, behind <see cref="Failure"/>; at once if it has.</summary>
    public void OnFailure(Action action)
    {
        lock (gate) told = action;
        if (Failure is not null) action();
    }

    /// <summary>It can't go on: who waits for a page would wait for ever, and is killed.</summary>
    public void Fail(Exception e)
    {
        lock (gate)
        {
            if (failure is not null) return;
            foreach (var process in (IEnumerable<PidFd>)[.. spaces.Select(s => s.Handle), .. others]) process.TrySendSignal(Signals.SIGKILL);
            Volatile.Write(ref failure, e);
        }

        told?.Invoke();
    }

    /// <summary>All of it is filled, or nobody runs in it any more: nothing more is served. <see cref="Fail"/> still kills them.</summary>
    public void Release()
    {
        server?.Dispose();
        foreach (var space in spaces) space.Release();
    }

    /// <summary>The processes run by themselves, or are gone.</summary>
    public void Dispose()
    {
        Release();
        foreach (var space in spaces) space.Dispose();
        foreach (var process in others) process.Dispose();
    }

    private static bool IsEmptyList(Puppet puppet, ulong head)
    {
        var next = new byte[sizeof(ulong)]; // struct robust_list_head, linux/futex.h: it points to itself
        return puppet.TryRead(head, next) && BinaryPrimitives.ReadUInt64LittleEndian(next) == head;
    }
}

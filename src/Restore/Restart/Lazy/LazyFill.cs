using System.Runtime.ExceptionServices;
using Crstore.Linux;
using Crstore.Model;
using Thread = System.Threading.Thread;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>
/// Processes that run already and whose memory is being filled. The image must stay open until <see cref="Wait"/> has returned. If anything goes
/// wrong, or crstore ends, they are killed: they must not go on with memory that isn't theirs.
/// </summary>
public sealed class LazyFill
{
    private readonly LazyMemory memory;
    private readonly LazyGuard guard;
    private readonly LazyTracer tracer;
    private readonly IProgress<ulong>? progress;
    private readonly CancellationToken cancel;
    private readonly CancellationTokenSource failed;
    private readonly ManualResetEventSlim filled = new(), done = new();
    private readonly Thread thread;
    private PtraceThread? ptrace;

    internal LazyFill(LazyMemory memory, LazyGuard guard, int waitPid, IProgress<ulong>? progress, CancellationToken cancel)
    {
        (this.memory, this.guard, this.progress, this.cancel) = (memory, guard, progress, cancel);
        tracer = new LazyTracer(memory, guard, filled, waitPid, cancel);
        failed = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        memory.OnFailure(() =>
        {
            failed.Cancel();
            filled.Set();
            guard.End();
        });
        thread = new Thread(Fill) { IsBackground = true, Name = "crstore rest" };
    }

    /// <summary>Bytes filled in the background so far; they count what the processes have asked for first, too.</summary>
    public ulong Bytes { get; private set; }

    /// <summary>How the process that the caller waits for has ended meanwhile; null: it has not. After <see cref="Wait"/>.</summary>
    public WaitReport? Ended => tracer.Ended;

    /// <summary>Returns when all is filled and the processes run by themselves.</summary>
    /// <exception cref="CrstoreException">It could not be; they were killed.</exception>
    public void Wait()
    {
        done.Wait(CancellationToken.None);
        thread.Join();
        ptrace!.Dispose();
        guard.Dispose();
        memory.Dispose();
        if (memory.Failure is { } e) ExceptionDispatchInfo.Throw(e);
    }

    /// <summary>Lets a thread go, as far as it goes without its memory. On the ptrace thread.</summary>
    internal int LetGo(Puppet puppet, LazySpace space) => tracer.LetGo(puppet, space);

    /// <summary>Begins: all threads were let go.</summary>
    internal void Begin(PtraceThread on)
    {
        ptrace = on;
        thread.Start();
        on.Begin(() =>
        {
            tracer.Run();
            done.Set();
        });
    }

    private void Fill()
    {
        try
        {
            using var copier = new RunCopier(progress, failed.Token) { FilePages = false };
            foreach (var space in memory.Spaces) space.FillAll(copier);
            copier.Complete();
            Bytes = copier.Bytes;
            filled.Set();
            guard.End();
        }
        catch (OperationCanceledException e)
        {
            memory.Fail(new OperationCanceledException("interrupted before all memory was filled: the restarted processes were killed", e, cancel));
        }
        catch (Exception e)
        {
            memory.Fail(e);
        }
    }
}

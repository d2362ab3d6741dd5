namespace Crstore.Capture.Injection;

/// <summary>
/// System calls made inside a frozen process by one of its threads. Heals itself: whatever instant crstore dies at, the
/// target goes on as if nothing had been there, and what was acquired and not yet released to it is given back.
/// Only on the ptrace thread. Dispose puts the thread back exactly.
/// </summary>
public interface IRemoteSyscalls : IDisposable
{
    /// <summary>So many threads can make calls at the same time (<see cref="TryStart"/>): each needs a slot, and the leader has one.</summary>
    const int MostStarted = SlotArea.Count - 1;

    /// <summary>The process.</summary>
    int Pid { get; }

    /// <summary>Runs one syscall in the given thread of the process; returns the raw result, -errno on failure.</summary>
    long Invoke(int tid, long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0);

    /// <summary>
    /// Runs the syscalls of a batch in order, in the given thread, with one stop behind all of them where that is possible (docs/FREEZING.md). Their results are the batch's.
    /// </summary>
    void InvokeAll(int tid, CallBatch batch);

    /// <summary>
    /// As <see cref="InvokeAll"/>, by another thread than the leader, without waiting for it: the results are the batch's after <see cref="Finish"/>. False, with nothing done, if it
    /// can't be: too many have been started, or this thread can't make these calls with one stop behind all of them.
    /// </summary>
    bool TryStart(int tid, CallBatch batch);

    /// <summary>Waits for a batch that was started. Each has to be finished, whatever was called in between.</summary>
    void Finish(CallBatch batch);

    /// <summary>As <see cref="Invoke"/>, for a call that returns a new fd: it is closed if crstore dies, or at Dispose, unless <see cref="LeaveToTarget"/> is called.</summary>
    int AcquireFd(int tid, long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0);

    /// <summary>The fd now stays open in the target.</summary>
    void LeaveToTarget(int fd);

    /// <summary>A private 4 KiB scratch page in the target for call results: mapped at first use, unmapped at Dispose or by the heal code.</summary>
    ulong ScratchAddress { get; }

    /// <summary>Reads the target's memory, the scratch page mostly.</summary>
    void Read(ulong address, Span<byte> buffer);
}

using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Injection;

/// <summary>
/// System calls in a frozen process, healing themselves if crstore dies (how: <see cref="SlotImage"/>, <see cref="InjectedThread"/>).
/// One thread, the leader, holds what is acquired for the process. For calls that concern another thread that one is on loan: one at a time, or two that make a row each and
/// are given back behind it.
/// </summary>
public sealed class RemoteSyscalls : IRemoteSyscalls
{
    private const long Mmap = 9, Close = 3, Munmap = 11; // system call numbers of x86-64
    private const long ProtReadWrite = 3, MapPrivateAnonymous = 0x22; // mmap(2)
    private const int PageSize = 4096;

    private readonly FrozenProcess _process;
    private readonly HashSet<int> _tids = [];
    private readonly ProcessMemory _memory;
    private readonly SlotStore _slots;
    private readonly ulong _caught;
    private readonly bool _leaderSuspended;
    private readonly List<int> _heldFds = [];
    private ulong _scratch;
    private bool _heldChanged;
    private bool _broken;
    private InjectedThread? _owner;
    private InjectedThread? _visitor;
    private readonly List<Row> _rows = new(IRemoteSyscalls.MostStarted); // not finished

    private RemoteSyscalls(FrozenProcess process, ProcessMemory memory, SlotArea area, in CallFilter leader)
    {
        (_process, _memory, _slots) = (process, memory, new SlotStore(memory, area));
        foreach (var thread in process.Threads) _tids.Add(thread.Tid);
        (_caught, _leaderSuspended) = (leader.SignalsCaught, leader.Suspended);
    }

    /// <inheritdoc/>
    public int Pid => _process.Pid;

    /// <inheritdoc/>
    public ulong ScratchAddress
    {
        get
        {
            if (_scratch == 0)
            {
                var address = Guarded(() => Call(Owner(), Mmap, [0, SlotImage.ScratchBytes, ProtReadWrite, MapPrivateAnonymous, -1, 0], Acquires.Pages));
                if (address < 0) throw new LinuxException("mmap of scratch pages (injected; its limit on memory or mappings may be reached)", (int)-address);
                _scratch = (ulong)address;
                _heldChanged = true;
            }
            return _scratch;
        }
    }

    /// <summary>
    /// Prepares injection into a frozen process; touches nothing yet. Null, with the reason, where it isn't possible: no room in
    /// the vDSO, system calls that are filtered for good, left-overs of a killed crstore that are still in use.
    /// </summary>
    /// <exception cref="TargetException">The process died.</exception>
    public static RemoteSyscalls? TryBegin(FrozenProcess process, out string? whyNot)
    {
        ProcessMemory? memory = null;
        try
        {
            var filter = CallFilter.Suspend(process.Pid, process.Leader.Tid, out whyNot);
            if (whyNot is not null) return null;
            memory = ProcessMemory.Open(process.Leader.Tid);
            var area = SlotArea.Find(memory, out whyNot);
            if (area is null) return null;
            whyNot = SlotLeftovers.Check(process, memory, area, out var leftovers);
            if (whyNot is not null) return null;
            var remote = new RemoteSyscalls(process, memory, area, filter);
            if (leftovers) remote._slots.Clear(force: true);
            memory = null;
            return remote;
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.EACCES or Errno.EPERM or Errno.EIO or Errno.EFAULT)
        {
            whyNot = e.Message;
            return null;
        }
        catch (LinuxException e)
        {
            throw TargetErrors.From(e, process.Pid);
        }
        finally
        {
            memory?.Dispose();
        }
    }

    /// <inheritdoc/>
    /// <remarks>-EPERM if that thread has its system calls filtered by itself, and that can't be suspended.</remarks>
    public long Invoke(int tid, long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0) => Guarded(() =>
        ThreadFor(tid) is { } thread ? Call(thread, number, [a0, a1, a2, a3, a4, a5], Acquires.Nothing) : -Errno.EPERM);

    /// <inheritdoc/>
    public void InvokeAll(int tid, CallBatch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.Count > 0) Guarded(() => CallAll(tid, batch));
    }

    /// <inheritdoc/>
    public bool TryStart(int tid, CallBatch batch) => Guarded(() =>
    {
        CheckThread(tid);
        return tid != _process.Leader.Tid && TryStartRow(tid, batch);
    });

    /// <inheritdoc/>
    public void Finish(CallBatch batch) => Guarded(() =>
    {
        var row = _rows.Find(r => r.Batch == batch) ?? throw new ArgumentException("the batch was not started", nameof(batch));
        row.End();
        _rows.Remove(row);
        if (row.Succeeded) for (var i = 0; i < batch.Count; i++) batch.SetResult(i, 0);
        else CallAll(row.Thread.Tid, batch); // which one has failed shows if they are made one by one
        return 0;
    });

    /// <inheritdoc/>
    /// <remarks>Made by the leader whatever thread is named: fds belong to the process.</remarks>
    public int AcquireFd(int tid, long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0) => Guarded(() =>
    {
        CheckThread(tid);
        if (_heldFds.Count >= SlotImage.MaxHeldFds) throw new InvalidOperationException($"more than {SlotImage.MaxHeldFds} fds held in the target at once");
        var fd = (int)Call(Owner(), number, [a0, a1, a2, a3, a4, a5], Acquires.Fd);
        if (fd >= 0)
        {
            _heldFds.Add(fd);
            _heldChanged = true;
        }
        return fd;
    });

    /// <inheritdoc/>
    public void LeaveToTarget(int fd) => Guarded(() =>
    {
        if (!_heldFds.Remove(fd)) throw new ArgumentException($"fd {fd} of process {Pid} is not held", nameof(fd));
        Owner().Hold(new HeldThings(_heldFds, _scratch));
        _heldChanged = false;
        return 0;
    });

    /// <summary>Closes an acquired fd in the target now.</summary>
    public void CloseFd(int fd) => Guarded(() =>
    {
        if (!_heldFds.Remove(fd)) throw new ArgumentException($"fd {fd} of process {Pid} is not held", nameof(fd));
        _heldChanged = true;
        return Call(Owner(), Close, [fd, 0, 0, 0, 0, 0], Acquires.Nothing);
    });

    /// <summary>
    /// A copy of the process as it is now, which the caller owns: a tracee that is stopped for good, and no child of the process (<see cref="SnapshotBirth"/>). Before any fd is acquired.
    /// </summary>
    /// <param name="whyNot">Why there is none.</param>
    /// <returns>Its process id; 0 if there is none.</returns>
    public int TrySnapshot(out string whyNot)
    {
        const long prctl = 157, getChildSubreaper = 37;
        whyNot = "it has a seccomp filter";
        if (_leaderSuspended) return 0;
        whyNot = "it adopts orphans (PR_SET_CHILD_SUBREAPER), as which a copy would come to it";
        Span<byte> flag = stackalloc byte[sizeof(int)];
        if (Invoke(_process.Leader.Tid, prctl, getChildSubreaper, (long)ScratchAddress) != 0) return 0;
        Read(ScratchAddress, flag);
        if (flag.ContainsAnyExcept((byte)0)) return 0;
        var errno = 0;
        var copy = Guarded(() =>
        {
            if (_heldFds.Count > 0) throw new InvalidOperationException("no snapshot while fds are held in the target");
            _heldChanged = false;
            return Owner().MakeSnapshot(new HeldThings(_heldFds, _scratch), out errno);
        });
        whyNot = copy != 0 ? "" : $"clone: {Errno.Describe(errno)}";
        return copy;
    }

    /// <summary>In a rehearsal: goes the ways that its process would not.</summary>
    public void Rehearse() => Guarded(() =>
    {
        Owner().Rehearse(new HeldThings(_heldFds, _scratch));
        // Its only thread, as if it were another one.
        const long getpid = 39;
        GiveBack();
        var batch = new CallBatch();
        batch.Add(getpid);
        if (TryStartRow(_process.Leader.Tid, batch)) Finish(batch);
        return 0;
    });

    /// <summary>A thread's registers as they are outside the injection: <see cref="Ptrace.GetRegs"/> shows those of a thread on loan changed.</summary>
    public UserRegs GetRegs(int tid) => OnLoan(tid)?.Saved ?? Ptrace.GetRegs(tid);

    /// <summary>A thread's signal mask as it is outside the injection.</summary>
    public ulong GetSigMask(int tid) => OnLoan(tid)?.SavedMask ?? Ptrace.GetSigMask(tid);

    /// <inheritdoc/>
    public void Read(ulong address, Span<byte> buffer) => _memory.Read(address, buffer);

    /// <summary>Writes the target's memory: the scratch page only, please.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> buffer) => _memory.Write(address, buffer);

    /// <summary>Gives everything back that is still held, and the threads. A target that has died is no error here.</summary>
    public void Dispose()
    {
        try
        {
            if (!_broken) GiveBack();
        }
        catch (Exception e) when (e is LinuxException or TargetException)
        {
            // The target has died, or a call is stuck in it. Then the heal code in the slot does what is left to do as soon
            // as the thread is let go, and the next run finds the slots left over: nothing to do here, and nobody to tell
            // that the thaw or the next call will not tell.
            _broken = true;
        }
        finally
        {
            _memory.Dispose();
        }
    }

    private void GiveBack()
    {
        EndOthers();
        if (_owner is { } owner)
        {
            while (_heldFds.Count > 0) CloseFd(_heldFds[^1]);
            if (_scratch != 0)
            {
                var pages = (long)_scratch;
                _scratch = 0;
                _heldChanged = true;
                Call(owner, Munmap, [pages, SlotImage.ScratchBytes, 0, 0, 0, 0], Acquires.Nothing);
            }
            owner.End();
            _owner = null;
        }
        _slots.Clear();
    }

    private long Call(InjectedThread thread, long number, ReadOnlySpan<long> arguments, Acquires acquires)
    {
        if (thread != _owner) return thread.Call(number, arguments, acquires, default, heldChanged: false);
        var changed = _heldChanged;
        _heldChanged = false;
        return thread.Call(number, arguments, acquires, new HeldThings(_heldFds, _scratch), changed);
    }

    /// <summary>
    /// All in one go by the leader, whose table lies in its own scratch pages. Another thread has its calls in its slot: if crstore dies the leader unmaps
    /// the pages at once, and code that reads a table there, or writes results, would fault. The kernel, writing answers there, only gives an error
    /// (unless something else has been mapped there meanwhile: docs/FREEZING.md, "What remains").
    /// </summary>
    private int CallAll(int tid, CallBatch batch)
    {
        var thread = ThreadFor(tid);
        var call = thread is not null && thread == _owner ? CallTables(thread, batch) : 0;
        while (call < batch.Count)
        {
            if (thread is { StopsBySignal: true } && thread != _owner)
            {
                call = thread.CallRow(batch, call);
                continue;
            }

            batch.SetResult(call, thread is null ? -Errno.EPERM : Call(thread, (long)batch.Word(call, 0),
                [(long)batch.Word(call, 1), (long)batch.Word(call, 2), (long)batch.Word(call, 3), (long)batch.Word(call, 4), 0, 0], Acquires.Nothing));
            call++;
        }

        return 0;
    }

    /// <summary>How many of the leader's calls are made then: all, or less if it can't make any in a row.</summary>
    private int CallTables(InjectedThread leader, CallBatch batch)
    {
        if (!leader.StopsBySignal || _heldFds.Count > SlotImage.MaxHeldFdsOfStopping) return 0;
        var address = ScratchAddress + PageSize;
        var from = 0;
        while (from < batch.Count)
        {
            var to = Math.Min(batch.Count, from + CallTable.MaxCalls);
            var table = CallTable.Write(batch, from, to);
            _memory.Write(address, table);
            if (!leader.TryCallTable(address, new HeldThings(_heldFds, _scratch))) break;
            _heldChanged = false;
            _memory.Read(address, table);
            CallTable.TakeResults(table, batch, from, to);
            from = to;
        }

        return from;
    }

    private bool TryStartRow(int tid, CallBatch batch)
    {
        if (batch.Count == 0 || _rows.Count == IRemoteSyscalls.MostStarted) return false;
        EndVisitor();
        var filter = CallFilter.Suspend(Pid, tid, out var whyNot);
        if (whyNot is not null || filter.Suspended || InjectedThread.TryBeginRow(Pid, tid, _slots, _caught, batch) is not { } thread) return false;
        _rows.Add(new Row(thread, batch));
        return true;
    }

    private InjectedThread? ThreadFor(int tid)
    {
        CheckThread(tid);
        if (tid == _process.Leader.Tid) return Owner();
        if (_visitor?.Tid == tid) return _visitor;
        EndOthers();
        var filter = CallFilter.Suspend(Pid, tid, out var whyNot);
        return whyNot is not null ? null : _visitor = InjectedThread.Begin(Pid, tid, _slots, filter.Suspended, _caught);
    }

    private InjectedThread Owner()
    {
        EndOthers(); // they may hold two of the three slots, and the owner needs a second one to move to
        if (_owner is not null) return _owner;
        return _owner = InjectedThread.Begin(Pid, _process.Leader.Tid, _slots, _leaderSuspended, _caught);
    }

    // What those that were started have answered stays theirs.
    private void EndOthers()
    {
        EndVisitor();
        foreach (var row in _rows) row.End();
    }

    private void EndVisitor()
    {
        var visitor = _visitor;
        _visitor = null;
        visitor?.End();
    }

    private InjectedThread? OnLoan(int tid) => _owner?.Tid == tid ? _owner : _visitor?.Tid == tid ? _visitor : _rows.Find(r => r.Thread.Tid == tid && !r.Ended)?.Thread;

    private void CheckThread(int tid)
    {
        if (!_tids.Contains(tid)) throw new ArgumentException($"process {Pid} has no frozen thread {tid}", nameof(tid));
    }

    private T Guarded<T>(Func<T> work)
    {
        ObjectDisposedException.ThrowIf(_broken, this);
        try
        {
            return work();
        }
        catch (LinuxException e)
        {
            _broken = true;
            throw TargetErrors.From(e, Pid);
        }
        catch (TargetException)
        {
            _broken = true;
            throw;
        }
    }

    // A thread that makes calls while others are looked after.
    private sealed class Row(InjectedThread thread, CallBatch batch)
    {
        public InjectedThread Thread { get; } = thread;

        public CallBatch Batch { get; } = batch;

        public bool Ended { get; private set; }

        public bool Succeeded { get; private set; }

        public void End()
        {
            if (!Ended) Succeeded = Thread.EndRow();
            Ended = true;
        }
    }
}

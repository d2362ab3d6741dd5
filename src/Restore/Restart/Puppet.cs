using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Objects;

namespace Crstore.Restore.Restart;

/// <summary>
/// A thread of a process that is being put together: stopped, except while it makes the calls that it is given. It dies with
/// crstore (PTRACE_O_EXITKILL) until it is let go. On the ptrace thread.
/// </summary>
/// <param name="tid">As crstore's pid namespace has it.</param>
/// <param name="pidInside">Its process's id in the process's own pid namespace.</param>
/// <param name="tidInside">Its own there.</param>
/// <param name="workplace">Where <see cref="StubProgram"/>'s code, table and data are.</param>
internal sealed class Puppet(int tid, int pidInside, int tidInside, ulong workplace) : IProcessCalls
{
    /// <summary>What every puppet is traced with.</summary>
    public const PtraceOptions Options =
        PtraceOptions.TraceSysGood | PtraceOptions.TraceFork | PtraceOptions.TraceVfork | PtraceOptions.TraceClone | PtraceOptions.ExitKill;

    private const int MaxErrno = 4095;
    private const int RoomForMore = 8192; // a call may want several things
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60); // mlock or a server's file may take their time
    private readonly List<string> names = [];
    private readonly byte[] table = new byte[StubProgram.MaxCalls * StubProgram.CallSize];
    private readonly byte[] data = new byte[StubProgram.Size - StubProgram.DataOffset];
    private int dataUsed;
    private int placedFor = -1; // calls in the table when the last bytes were placed

    /// <summary>As crstore's pid namespace has it.</summary>
    public int Tid => tid;

    /// <summary>Its own id in its pid namespace.</summary>
    public int TidInside => tidInside;

    /// <inheritdoc/>
    public int Pid => pidInside;

    /// <summary>Where its code, table and data are.</summary>
    public ulong Workplace { get; private set; } = workplace;

    /// <summary>Told of each thread or process that a call makes; it is stopped at its birth.</summary>
    public Action<int>? Born { get; set; }

    /// <inheritdoc/>
    public ulong Place(ReadOnlySpan<byte> bytes)
    {
        // What was placed since the last call belongs to the next one, and must stay.
        if (names.Count > placedFor && dataUsed + bytes.Length + RoomForMore > data.Length) Flush();
        if (dataUsed + bytes.Length > data.Length) throw new ArgumentException($"{bytes.Length} bytes are too many", nameof(bytes));
        placedFor = names.Count;
        var at = Workplace + StubProgram.DataOffset + (ulong)dataUsed;
        bytes.CopyTo(data.AsSpan(dataUsed));
        dataUsed += (bytes.Length + 15) & ~15;
        return at;
    }

    /// <inheritdoc/>
    public void Queue(string what, long number, params ReadOnlySpan<long> arguments)
    {
        Add(what, number, arguments);
        if (names.Count == StubProgram.MaxCalls) Flush();
    }

    /// <inheritdoc/>
    public long Call(string what, long number, params ReadOnlySpan<long> arguments)
    {
        Add(what, number, arguments);
        var results = Run();
        for (var i = 0; i < results.Length - 1; i++) Check(i, results[i]);
        Clear();
        return results[^1];
    }

    /// <inheritdoc/>
    public void Flush()
    {
        if (names.Count > 0)
        {
            var results = Run();
            for (var i = 0; i < results.Length; i++) Check(i, results[i]);
        }

        Clear();
    }

    /// <inheritdoc/>
    public void Read(ulong address, Span<byte> destination)
    {
        if (!TryRead(address, destination)) throw new EnvironmentException($"process {pidInside}: memory at {address:x} can't be read");
    }

    /// <summary>Memory that a program named, and that need not be there.</summary>
    public bool TryRead(ulong address, Span<byte> destination) =>
        RemoteMemory.TryRead(tid, [new RemoteSpan(address, (ulong)destination.Length)], destination) == destination.Length;

    /// <summary>Writes code, and works from another place from now on. The memory is there already.</summary>
    public void MoveTo(ulong place)
    {
        Flush();
        Workplace = place;
        Write(place, StubProgram.Code());
    }

    /// <summary>Writes memory that is writable.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> bytes)
    {
        var n = RemoteMemory.TryWrite(tid, address, bytes);
        if (n != bytes.Length) throw new EnvironmentException($"process {pidInside}: memory at {address:x} can't be written: {(n < 0 ? Errno.Describe((int)-n) : "short")}");
    }

    /// <summary>Waits for the stop that a thread is born with, or that PTRACE_INTERRUPT asked for.</summary>
    public void AwaitStop()
    {
        while (!Next("its start").IsEventStop) Continue();
    }

    /// <summary>One call that is not followed by SIGSTOP to itself, as a table of calls is. Nothing is queued.</summary>
    public void CallWithoutStop(string what, long number, params ReadOnlySpan<long> arguments) => CallAt(what, InCalls, number, arguments);

    /// <summary>The same from a given `syscall` instruction instead of the workplace, which it may unmap.</summary>
    public void CallAt(string what, ulong instruction, long number, params ReadOnlySpan<long> arguments)
    {
        PrepareCall(instruction, number, arguments);
        for (var stop = 0; stop < 2; stop++) // at its entry, at its exit
        {
            Ptrace.ContinueToSyscall(tid);
            while (!Next(what).IsSyscallStop) Ptrace.ContinueToSyscall(tid);
        }

        Check(what, (long)Ptrace.GetRegs(tid).Rax);
    }

    /// <summary>Is let go for good, to make what is queued by itself. That ends with its exit.</summary>
    public void Leave()
    {
        Load();
        var errno = Ptrace.TryDetach(tid);
        if (errno != 0) throw Died(Errno.Describe(errno));
    }

    /// <summary>
    /// Comes to PTRACE_EVENT_STOP, from where the kernel repeats the system call that its registers may be in: PTRACE_DETACH makes it look whether
    /// there is one, while PTRACE_SYSCALL does so from there only.
    /// </summary>
    public void StopForResumption()
    {
        Ptrace.Interrupt(tid);
        Continue();
        AwaitStop();
    }

    /// <summary>Exits, after at least one call. Its parent may wait for it.</summary>
    public void Exit(int code)
    {
        var regs = Registers(InCalls);
        regs.Rax = SystemCalls.ExitGroup;
        regs.Rdi = (ulong)code;
        Ptrace.SetRegs(tid, regs);
        Continue();
        AwaitDeath();
    }

    /// <summary>Is ended by a signal, after at least one call: that left it in a stop in which a signal can be given.</summary>
    public void DieOf(int signal)
    {
        Ptrace.SetSigMask(tid, 0);
        Ptrace.Continue(tid, signal);
        AwaitDeath();
    }

    /// <summary>
    /// A call that is interrupted at once: the kernel now has in its record for restart_syscall(2) how to go on with it. What was
    /// placed for it is read by then.
    /// </summary>
    /// <returns>-ERESTART_RESTARTBLOCK, or the result if it had one already.</returns>
    public long CallInterrupted(string what, long number, params ReadOnlySpan<long> arguments)
    {
        PrepareCall(InCalls, number, arguments);
        Ptrace.ContinueToSyscall(tid);
        while (!Next(what).IsSyscallStop) Ptrace.ContinueToSyscall(tid);
        Ptrace.Interrupt(tid); // pending from here on: the call finds it as soon as it would sleep
        Continue();
        while (!Next(what).IsEventStop) Continue();
        return (long)Ptrace.GetRegs(tid).Rax;
    }

    private ulong InCalls => Workplace + StubProgram.CallsOffset + StubProgram.SyscallInCalls;

    // Registers for one call, and what was placed for it.
    private void PrepareCall(ulong instruction, long number, ReadOnlySpan<long> arguments)
    {
        if (names.Count > 0) throw new InvalidOperationException($"{names[0]} is queued and would be forgotten");
        if (dataUsed > 0) Write(Workplace + StubProgram.DataOffset, data.AsSpan(0, dataUsed));
        Clear();
        var regs = Registers(instruction);
        Span<ulong> six = stackalloc ulong[6];
        for (var i = 0; i < arguments.Length; i++) six[i] = (ulong)arguments[i];
        regs.Rax = (ulong)number;
        (regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9) = (six[0], six[1], six[2], six[3], six[4], six[5]);
        Ptrace.SetRegs(tid, regs);
    }

    private void Add(string what, long number, ReadOnlySpan<long> arguments)
    {
        if (arguments.Length > 6) throw new ArgumentException("a call has six arguments at most", nameof(arguments));
        var entry = table.AsSpan(names.Count * StubProgram.CallSize, StubProgram.CallSize);
        entry.Clear();
        BinaryPrimitives.WriteInt64LittleEndian(entry, number);
        for (var i = 0; i < arguments.Length; i++) BinaryPrimitives.WriteInt64LittleEndian(entry[(8 + 8 * i)..], arguments[i]);
        BinaryPrimitives.WriteInt64LittleEndian(entry[56..], NotMade);
        names.Add(what);
    }

    private const long NotMade = long.MinValue;

    /// <summary>Makes what is in the table: results of the calls up to the first that failed.</summary>
    private long[] Run()
    {
        var used = Load();
        Continue();
        while (true)
        {
            var report = Next(names[0]);
            if (report.IsSignalDelivery && report.Signal == Signals.SIGSTOP) break;
            if (report.IsBirth) Born?.Invoke(Ptrace.GetEventMessage(tid));
            else if (report.IsSignalDelivery && report.Signal is not (Signals.SIGCHLD or Signals.SIGCONT))
                throw new EnvironmentException($"process {pidInside}: signal {report.Signal} while it was being put together, at {names[0]}");
            Continue();
        }

        Read(Workplace + StubProgram.TableOffset, used);
        var results = new List<long>(names.Count);
        for (var i = 0; i < names.Count; i++)
        {
            var result = BinaryPrimitives.ReadInt64LittleEndian(used[(i * StubProgram.CallSize + 56)..]);
            if (result == NotMade) break;
            results.Add(result);
        }

        if (results.Count < names.Count && results is [.., >= 0] or []) throw new InvalidOperationException("a table of calls ended without a reason");
        if (results.Count < names.Count) Check(results.Count - 1, results[^1]);
        return [.. results];
    }

    /// <summary>Puts the table and what was placed for it in the workplace, and the registers to where it is worked through.</summary>
    private Span<byte> Load()
    {
        if (dataUsed > 0) Write(Workplace + StubProgram.DataOffset, data.AsSpan(0, dataUsed));
        var used = table.AsSpan(0, names.Count * StubProgram.CallSize);
        Write(Workplace + StubProgram.TableOffset, used);
        var regs = Registers(Workplace + StubProgram.CallsOffset);
        regs.Rbx = Workplace + StubProgram.TableOffset;
        regs.R12 = (ulong)names.Count;
        regs.R13 = (ulong)pidInside;
        regs.R14 = (ulong)tidInside;
        Ptrace.SetRegs(tid, regs);
        Ptrace.SetSigMask(tid, Signals.AllBlocked);
        return used;
    }

    private void Clear()
    {
        names.Clear();
        dataUsed = 0;
        placedFor = -1;
    }

    private void Check(int call, long result) => Check(names[call], result);

    private void Check(string what, long result)
    {
        if (result is >= 0 or < -MaxErrno) return;
        throw new EnvironmentException($"process {pidInside}: {what}: {Errno.Describe((int)-result)}");
    }

    private void Continue()
    {
        if (Ptrace.TryContinue(tid) != 0) throw Died("it is gone");
    }

    private WaitReport Next(string doing)
    {
        var report = StopWait.Next(tid, StopWait.DeadlineIn(Patience));
        return report.Kind switch
        {
            WaitKind.Stopped => report,
            WaitKind.Nothing => throw new EnvironmentException($"process {pidInside} did not come back from {doing} within {Patience.TotalSeconds:0} s"),
            _ => throw Died(report.Killed ? $"signal {report.Status}" : $"exit code {report.Status}"),
        };
    }

    // Taken by the tracer, the death is then told to the parent, ptrace(2).
    private void AwaitDeath()
    {
        var report = StopWait.Next(tid, StopWait.DeadlineIn(Patience));
        if (report.Kind != WaitKind.Dead) throw new EnvironmentException($"process {pidInside} did not end");
    }

    private EnvironmentException Died(string how) => new($"process {pidInside} died while it was being put together: {how}");

    private UserRegs Registers(ulong instruction)
    {
        var regs = Ptrace.GetRegs(tid);
        regs.OrigRax = UserRegs.NoSyscall;
        regs.Rip = instruction;
        regs.Eflags = 0x202; // interrupts on, no direction, no trap
        return regs;
    }
}

namespace Crstore.Linux;

/// <summary>
/// ptrace(2), the requests crstore needs. Every call must come from the thread that seized the tracee, and all but
/// Seize and Interrupt need it stopped; otherwise the kernel says ESRCH, as it does for a thread that has died.
/// Failures throw <see cref="LinuxException"/>; the Try forms give the errno instead.
/// </summary>
public static unsafe class Ptrace
{
    // Requests, linux/ptrace.h.
    private const long PeekData = 2, Cont = 7, DetachRequest = 17, SyscallRequest = 24, SetOptionsRequest = 0x4200, GetEventMessageRequest = 0x4201, GetSigInfoRequest = 0x4202,
        GetRegSetRequest = 0x4204, SetRegSetRequest = 0x4205, SeizeRequest = 0x4206, InterruptRequest = 0x4207, ListenRequest = 0x4208,
        PeekSigInfoRequest = 0x4209, GetSigMaskRequest = 0x420a, SetSigMaskRequest = 0x420b, GetRseqRequest = 0x420f, GetUserDispatchRequest = 0x4211;

    /// <summary>siginfo_t in bytes.</summary>
    public const int SigInfoSize = 128;

    /// <summary>The largest XSAVE area known (AMX: 11 008 bytes), rounded up.</summary>
    private const int MaxXStateSize = 16384;

    /// <summary>Attaches without stopping. 0, or EPERM (not allowed, traced already, exiting) or ESRCH (gone).</summary>
    public static int TrySeize(int tid, PtraceOptions options) => RawSyscall.Errno(RawSyscall.Ptrace, SeizeRequest, tid, 0, (uint)options);

    /// <summary>Attaches without stopping.</summary>
    public static void Seize(int tid, PtraceOptions options) => Check(TrySeize(tid, options), "PTRACE_SEIZE", tid);

    /// <summary>Asks a seized tracee to enter PTRACE_EVENT_STOP. 0 or ESRCH.</summary>
    public static int TryInterrupt(int tid) => RawSyscall.Errno(RawSyscall.Ptrace, InterruptRequest, tid);

    /// <summary>Asks a seized tracee to enter PTRACE_EVENT_STOP.</summary>
    public static void Interrupt(int tid) => Check(TryInterrupt(tid), "PTRACE_INTERRUPT", tid);

    /// <summary>Lets the tracee go on; from a signal-delivery-stop with the signal, 0 for none.</summary>
    public static int TryContinue(int tid, int signal = 0) => RawSyscall.Errno(RawSyscall.Ptrace, Cont, tid, 0, signal);

    /// <summary>Lets the tracee go on; from a signal-delivery-stop with the signal, 0 for none.</summary>
    public static void Continue(int tid, int signal = 0) => Check(TryContinue(tid, signal), "PTRACE_CONT", tid);

    /// <summary>Lets the tracee go on to the next entry to or exit from a system call.</summary>
    public static void ContinueToSyscall(int tid, int signal = 0) => Check(TryContinueToSyscall(tid, signal), "PTRACE_SYSCALL", tid);

    /// <summary>The same; 0 or ESRCH.</summary>
    public static int TryContinueToSyscall(int tid, int signal = 0) => RawSyscall.Errno(RawSyscall.Ptrace, SyscallRequest, tid, 0, signal);

    /// <summary>Leaves a process in its group-stop, where SIGCONT reaches it and is reported. 0 or ESRCH.</summary>
    public static int TryListen(int tid) => RawSyscall.Errno(RawSyscall.Ptrace, ListenRequest, tid);

    /// <summary>Lets the tracee go for good. 0 or ESRCH.</summary>
    public static int TryDetach(int tid, int signal = 0) => RawSyscall.Errno(RawSyscall.Ptrace, DetachRequest, tid, 0, signal);

    /// <summary>Replaces the options. 0, or for SuspendSeccomp EPERM (no CAP_SYS_ADMIN) or EINVAL (not built in).</summary>
    public static int TrySetOptions(int tid, PtraceOptions options) => RawSyscall.Errno(RawSyscall.Ptrace, SetOptionsRequest, tid, 0, (uint)options);

    /// <summary>General registers.</summary>
    /// <exception cref="InvalidOperationException">The thread runs 32-bit code.</exception>
    public static UserRegs GetRegs(int tid) => TryGetRegs(tid, out var regs) ? regs
        : throw new InvalidOperationException($"thread {tid} runs 32-bit code: its register set is another one");

    /// <summary>The same; false if the thread runs 32-bit code (the kernel then gives the i386 register set of 68 bytes).</summary>
    public static bool TryGetRegs(int tid, out UserRegs regs)
    {
        regs = default;
        fixed (UserRegs* p = &regs)
            return RegSet(GetRegSetRequest, "PTRACE_GETREGSET", tid, RegisterSet.PrStatus, p, UserRegs.Size) == UserRegs.Size && regs.Cs == UserRegs.Cs64;
    }

    /// <summary>Sets the general registers, orig_rax included.</summary>
    public static void SetRegs(int tid, in UserRegs regs)
    {
        fixed (UserRegs* p = &regs) RegSet(SetRegSetRequest, "PTRACE_SETREGSET", tid, RegisterSet.PrStatus, p, UserRegs.Size);
    }

    /// <summary>Any register set, as long as the kernel has it.</summary>
    public static byte[] GetRegSet(int tid, RegisterSet set)
    {
        var buffer = stackalloc byte[MaxXStateSize];
        var length = RegSet(GetRegSetRequest, "PTRACE_GETREGSET", tid, set, buffer, MaxXStateSize);
        return new ReadOnlySpan<byte>(buffer, length).ToArray();
    }

    /// <summary>Sets any register set.</summary>
    public static void SetRegSet(int tid, RegisterSet set, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* p = bytes) RegSet(SetRegSetRequest, "PTRACE_SETREGSET", tid, set, p, bytes.Length);
    }

    /// <summary>The thread's signal mask, bit n-1 for signal n; within sigsuspend and its like the one that comes back afterwards.</summary>
    public static ulong GetSigMask(int tid)
    {
        ulong mask;
        Check(RawSyscall.Errno(RawSyscall.Ptrace, GetSigMaskRequest, tid, sizeof(ulong), (long)&mask), "PTRACE_GETSIGMASK", tid);
        return mask;
    }

    /// <summary>Sets the thread's signal mask.</summary>
    public static void SetSigMask(int tid, ulong mask) =>
        Check(RawSyscall.Errno(RawSyscall.Ptrace, SetSigMaskRequest, tid, sizeof(ulong), (long)&mask), "PTRACE_SETSIGMASK", tid);

    /// <summary>What a PTRACE_EVENT stop is about: after fork and clone events the new thread's id.</summary>
    public static int GetEventMessage(int tid)
    {
        ulong message;
        Check(RawSyscall.Errno(RawSyscall.Ptrace, GetEventMessageRequest, tid, 0, (long)&message), "PTRACE_GETEVENTMSG", tid);
        return (int)message;
    }

    /// <summary>The siginfo_t (128 bytes) of the stop, or null if the stop has none (EINVAL: a group-stop).</summary>
    public static byte[]? GetSigInfo(int tid)
    {
        var info = new byte[SigInfoSize];
        fixed (byte* p = info)
        {
            var errno = RawSyscall.Errno(RawSyscall.Ptrace, GetSigInfoRequest, tid, 0, (long)p);
            if (errno == Errno.EINVAL) return null;
            Check(errno, "PTRACE_GETSIGINFO", tid);
        }
        return info;
    }

    /// <summary>Pending signals without taking them: 128-byte siginfo_t records, in queue order.</summary>
    /// <param name="tid">A stopped thread.</param>
    /// <param name="shared">The process's queue, else the thread's own.</param>
    public static byte[] PeekSigInfo(int tid, bool shared)
    {
        const int batch = 64;
        var found = new MemoryStream();
        var buffer = new byte[batch * SigInfoSize];
        var arguments = stackalloc ulong[2]; // struct ptrace_peeksiginfo_args { u64 off; u32 flags; s32 nr; }
        for (ulong offset = 0; ;)
        {
            arguments[0] = offset;
            arguments[1] = (shared ? 1UL : 0) | ((ulong)batch << 32); // PTRACE_PEEKSIGINFO_SHARED = 1
            long count;
            fixed (byte* p = buffer) count = RawSyscall.Invoke(RawSyscall.Ptrace, PeekSigInfoRequest, tid, (long)arguments, (long)p);
            if (count < 0) throw LinuxException.Last("ptrace(PTRACE_PEEKSIGINFO)", $"thread {tid}");
            found.Write(buffer, 0, (int)count * SigInfoSize);
            if (count < batch) return found.ToArray();
            offset += (ulong)count;
        }
    }

    /// <summary>The thread's rseq registration; Address 0 if it has none, null if the kernel (before 5.13) can't tell.</summary>
    public static RseqConfiguration? GetRseq(int tid)
    {
        RseqConfiguration configuration = default;
        var errno = RawSyscall.Errno(RawSyscall.Ptrace, GetRseqRequest, tid, sizeof(RseqConfiguration), (long)&configuration);
        if (errno is Errno.EIO or Errno.EINVAL) return null;
        Check(errno, "PTRACE_GET_RSEQ_CONFIGURATION", tid);
        return configuration;
    }

    /// <summary>
    /// True if the thread has its system calls sent to itself as SIGSYS, prctl(2) with PR_SET_SYSCALL_USER_DISPATCH, as Wine does. False as well on
    /// kernels that don't tell (before 6.4).
    /// </summary>
    public static bool HasUserDispatch(int tid)
    {
        const int off = 0, size = 32; // PR_SYS_DISPATCH_OFF; struct ptrace_sud_config: mode, selector, offset, length
        var configuration = stackalloc ulong[size / sizeof(ulong)];
        var errno = RawSyscall.Errno(RawSyscall.Ptrace, GetUserDispatchRequest, tid, size, (long)configuration);
        if (errno is Errno.EIO or Errno.EINVAL) return false;
        Check(errno, "PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG", tid);
        return configuration[0] != off;
    }

    /// <summary>One word of the tracee's memory; null if it isn't readable.</summary>
    public static ulong? Peek(int tid, ulong address)
    {
        ulong word;
        var errno = RawSyscall.Errno(RawSyscall.Ptrace, PeekData, tid, (long)address, (long)&word);
        if (errno is Errno.EIO or Errno.EFAULT) return null;
        Check(errno, "PTRACE_PEEKDATA", tid);
        return word;
    }

    private static int RegSet(long request, string name, int tid, RegisterSet set, void* data, int size)
    {
        var iovec = stackalloc long[2] { (long)data, size };
        Check(RawSyscall.Errno(RawSyscall.Ptrace, request, tid, (uint)set, (long)iovec), name, tid);
        return (int)iovec[1];
    }

    private static void Check(int errno, string request, int tid)
    {
        if (errno != 0) throw new LinuxException($"ptrace({request})", errno, $"thread {tid}");
    }
}

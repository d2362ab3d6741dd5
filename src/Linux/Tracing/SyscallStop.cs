using System.Runtime.InteropServices;

namespace Crstore.Linux;

/// <summary>struct ptrace_syscall_info of a stop at the entry to a system call, PTRACE_GET_SYSCALL_INFO of ptrace(2) (kernel 5.3).</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct SyscallStop
{
    private const long GetSyscallInfoRequest = 0x420e; // PTRACE_GET_SYSCALL_INFO
    private const byte Entry = 1;                      // PTRACE_SYSCALL_INFO_ENTRY
    private const uint Architecture64 = 0xC000003E;    // AUDIT_ARCH_X86_64, linux/audit.h
    private const ulong X32 = 0x4000_0000;             // __X32_SYSCALL_BIT, asm/unistd.h

    private readonly byte op;
    private readonly byte pad0;
    private readonly ushort pad1;
    private readonly uint architecture;
    private readonly ulong instruction, stack, number;
    private fixed ulong arguments[6];

    /// <summary>Its number in syscall_64.tbl.</summary>
    public readonly ulong Number => number;

    /// <summary>False: of the 32-bit or x32 interface, whose numbers are others.</summary>
    public readonly bool Is64 => architecture == Architecture64 && (number & X32) == 0;

    /// <summary>One of its six arguments.</summary>
    public readonly ulong this[int argument] => arguments[argument];

    /// <summary>What a thread in a system call stop is about to call; false if it has just come back, or is gone.</summary>
    public static bool TryGetEntry(int tid, out SyscallStop stop)
    {
        stop = default;
        fixed (SyscallStop* at = &stop)
            return RawSyscall.Invoke(RawSyscall.Ptrace, GetSyscallInfoRequest, tid, sizeof(SyscallStop), (long)at) > 0 && at->op == Entry;
    }
}

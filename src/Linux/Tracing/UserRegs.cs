using System.Runtime.InteropServices;

namespace Crstore.Linux;

/// <summary>
/// struct user_regs_struct of x86-64 (sys/user.h): 27 × 8 = 216 bytes, the NT_PRSTATUS register set of ptrace(2) and of
/// ELF cores.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct UserRegs
{
#pragma warning disable CS1591 // the names are the documentation
    public ulong R15, R14, R13, R12, Rbp, Rbx, R11, R10, R9, R8, Rax, Rcx, Rdx, Rsi, Rdi;
#pragma warning restore CS1591

    /// <summary>Number of the system call the thread is in, or ulong.MaxValue (-1) if it isn't in one.</summary>
    public ulong OrigRax;

#pragma warning disable CS1591
    public ulong Rip, Cs, Eflags, Rsp, Ss, FsBase, GsBase, Ds, Es, Fs, Gs;
#pragma warning restore CS1591

    /// <summary>Size in bytes.</summary>
    public const int Size = 27 * 8;

    /// <summary>Code segment of 64-bit user code; 0x23 is a 32-bit one.</summary>
    public const ulong Cs64 = 0x33;

    /// <summary><see cref="OrigRax"/> of a thread that is not in a system call: the kernel then does no restart handling.</summary>
    public const ulong NoSyscall = ulong.MaxValue;

    /// <summary>The 216 bytes as the kernel has them.</summary>
    public readonly byte[] ToBytes() => MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(in this, 1)).ToArray();

    /// <summary>Reads the 216 bytes of <see cref="ToBytes"/>.</summary>
    /// <exception cref="ArgumentException">Another length.</exception>
    public static UserRegs FromBytes(ReadOnlySpan<byte> bytes) => bytes.Length == Size
        ? MemoryMarshal.Read<UserRegs>(bytes)
        : throw new ArgumentException($"a register set has {Size} bytes, not {bytes.Length}", nameof(bytes));
}

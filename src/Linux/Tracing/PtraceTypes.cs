using System.Runtime.InteropServices;

namespace Crstore.Linux;

/// <summary>PTRACE_O_*, ptrace(2).</summary>
[Flags]
public enum PtraceOptions : uint
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>System call stops report SIGTRAP | 0x80: they can't be taken for a real SIGTRAP.</summary>
    TraceSysGood = 1,

    /// <summary>fork children are attached at birth.</summary>
    TraceFork = 2,

    /// <summary>vfork children are attached at birth.</summary>
    TraceVfork = 4,

    /// <summary>clone children are attached at birth.</summary>
    TraceClone = 8,

    /// <summary>The tracee dies with the tracer: for clone children we made, never for the target.</summary>
    ExitKill = 0x100000,

    /// <summary>The tracee's seccomp filters do nothing while this is set. Needs CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE.</summary>
    SuspendSeccomp = 0x200000,
}

/// <summary>Register sets by ELF note type, elf.h.</summary>
public enum RegisterSet : uint
{
    /// <summary>General registers, <see cref="UserRegs"/>.</summary>
    PrStatus = 1,

    /// <summary>FXSAVE area, 512 bytes.</summary>
    PrFpReg = 2,

    /// <summary>XSAVE area: x87, SSE, AVX, AVX-512, PKRU, AMX; its length depends on the CPU.</summary>
    XState = 0x202,
}

/// <summary>struct ptrace_rseq_configuration, linux/ptrace.h: where a thread's rseq area is.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct RseqConfiguration
{
    /// <summary>Address of struct rseq in the target; 0 if none is registered.</summary>
    public ulong Address;

    /// <summary>Size in bytes it was registered with.</summary>
    public uint SizeBytes;

    /// <summary>The four bytes before each abort handler.</summary>
    public uint Signature;

    /// <summary>Always 0 so far.</summary>
    public uint Flags;

    /// <summary>Padding.</summary>
    public uint Pad;
}

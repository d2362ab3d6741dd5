using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore.Restart;

/// <summary>A `syscall` instruction that a process has anyway: in the vDSO, which falls back to the kernel for clocks that it doesn't know.</summary>
internal static class SyscallInstruction
{
    /// <summary>Its address.</summary>
    public static ulong Find(Puppet puppet, Vma vdso)
    {
        var code = new byte[vdso.End - vdso.Start];
        puppet.Read(vdso.Start, code);
        var at = code.AsSpan().IndexOf([(byte)0x0f, (byte)0x05]);
        return at >= 0 ? vdso.Start + (ulong)at : throw new EnvironmentException("this kernel's vDSO makes no system calls");
    }
}

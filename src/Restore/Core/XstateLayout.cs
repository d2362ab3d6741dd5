using System.Buffers.Binary;

namespace Crstore.Restore;

/// <summary>
/// Where a processor puts the parts of its extended state (Intel SDM volume 1, 13.4.2; CPUID leaf 0xD). AMD's have no MPX, and leave its room out. gdb up to
/// 13, which Debian 12 has, knows only the places that Intel's have, and says of anything else that the section is too small; later ones guess by the size, and know both.
/// So a core has Intel's, whatever it was captured on.
/// </summary>
internal static class XstateLayout
{
    private const int MaskOffset = 464; // sw_reserved: the parts that are there (XCR0); arch/x86/include/uapi/asm/sigcontext.h
    private const ulong Mpx = 0b11 << 3, Avx512 = 0b111 << 5, Pkru = 1 << 9;
    private const int Legacy = 832; // x87, SSE, the header and AVX: the same everywhere

    // Opmask, ZMM_Hi256 and Hi16_ZMM follow each other in both.
    private const int CompactAvx512 = 832, StandardAvx512 = 1088, Avx512Size = 64 + 512 + 1024;
    private const int CompactPkru = CompactAvx512 + Avx512Size, StandardPkru = StandardAvx512 + Avx512Size, PkruSize = 8;

    /// <summary>The same state with its parts where gdb looks for them; as it is if they are there, or if its layout isn't known.</summary>
    /// <param name="xstate">NT_X86_XSTATE, as ptrace(2) gives it.</param>
    public static ReadOnlySpan<byte> Standard(ReadOnlySpan<byte> xstate)
    {
        if (xstate.Length < Legacy) return xstate;
        var mask = BinaryPrimitives.ReadUInt64LittleEndian(xstate[MaskOffset..]);
        var (avx512, pkru) = ((mask & Avx512) == Avx512, (mask & Pkru) != 0);
        var compactPkru = avx512 ? CompactPkru : Legacy;
        var compactSize = pkru ? compactPkru + PkruSize : CompactPkru;
        if ((mask & Mpx) != 0 || !(avx512 || pkru) || xstate.Length != compactSize) return xstate;
        var standard = new byte[pkru ? StandardPkru + PkruSize : StandardPkru];
        xstate[..Legacy].CopyTo(standard);
        if (avx512) xstate.Slice(CompactAvx512, Avx512Size).CopyTo(standard.AsSpan(StandardAvx512));
        if (pkru) xstate.Slice(compactPkru, PkruSize).CopyTo(standard.AsSpan(StandardPkru));
        return standard;
    }
}

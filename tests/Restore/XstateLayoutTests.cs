using System.Buffers.Binary;
using Crstore.Restore;
using Xunit;

namespace Crstore.Tests.Restore;

public sealed class XstateLayoutTests
{
    private const ulong Avx = 0x7, Avx512 = 0xe0, Mpx = 0x18, Pkru = 0x200;

    [Theory]
    [InlineData(Avx | Avx512, 2432, 2688)]
    [InlineData(Avx | Avx512 | Pkru, 2440, 2696)]
    [InlineData(Avx | Pkru, 840, 2696)]
    public void The_layout_without_room_for_MPX_becomes_the_one_that_gdb_knows(ulong mask, int size, int standardSize)
    {
        var xstate = Numbered(mask, size);
        var standard = XstateLayout.Standard(xstate).ToArray();
        Assert.Equal(standardSize, standard.Length);
        Assert.Equal(xstate[..832], standard[..832]);
        if ((mask & Avx512) != 0) Assert.Equal(xstate[832..2432], standard[1088..2688]);
        if ((mask & Pkru) != 0) Assert.Equal(xstate[^8..], standard[^8..]);
    }

    [Theory]
    [InlineData(Avx, 832)]
    [InlineData(Avx | Avx512, 2688)]
    [InlineData(Avx | Mpx | Avx512 | Pkru, 2696)]
    [InlineData(Avx | Avx512, 11008)]
    [InlineData(Avx | Avx512, 700)]
    public void Any_other_is_left_as_it_is(ulong mask, int size)
    {
        var xstate = Numbered(mask, size);
        Assert.Equal(xstate, XstateLayout.Standard(xstate).ToArray());
    }

    private static byte[] Numbered(ulong mask, int size)
    {
        var xstate = new byte[size];
        for (var i = 0; i < size; i++) xstate[i] = (byte)(i * 7 ^ i >> 8);
        BinaryPrimitives.WriteUInt64LittleEndian(xstate.AsSpan(464), mask);
        return xstate;
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Crstore.Model;

namespace Crstore.Store.Patches;

/// <summary>
/// A patch: what turns one page into another. Runs in address order, each a varint of the bytes that stay as they are since
/// the end of the run before, a varint of the run's length, and the run's bytes. At least one run; none is empty; between two
/// of them at least one byte stays. Varints have their shortest form, at most two bytes.
/// </summary>
public static class PatchCodec
{
    // A run of its own costs two bytes or three: shorter gaps are cheaper copied.
    private const int WorthwhileGap = 4;

    /// <summary>Makes the patch from one page to another.</summary>
    /// <param name="from">The page that readers will have: the anchor.</param>
    /// <param name="to">The page that it shall become.</param>
    /// <param name="patch">Room: as long as a patch may be.</param>
    /// <returns>Bytes of the patch; 0 if the pages are equal, -1 if it does not fit.</returns>
    public static int Make(ReadOnlySpan<byte> from, ReadOnlySpan<byte> to, Span<byte> patch)
    {
        if (from.Length != VirtualPage.Size || to.Length != VirtualPage.Size) throw new ArgumentException($"pages of {from.Length} and {to.Length} bytes", nameof(to));
        var (length, end) = (0, 0);
        while (true)
        {
            var start = end + from[end..].CommonPrefixLength(to[end..]);
            if (start == VirtualPage.Size) return length;
            var gap = start - end;
            end = EndOfRun(from, to, start, start + patch.Length - length);
            var run = end - start;
            if (patch.Length - length < SizeOf(gap) + SizeOf(run) + run) return -1;
            length += Write(patch[length..], gap);
            length += Write(patch[length..], run);
            to[start..end].CopyTo(patch[length..]);
            length += run;
        }
    }

    /// <summary>Turns the anchor into the page that was stored. Never writes outside of the page.</summary>
    /// <param name="patch">Stored bytes.</param>
    /// <param name="page">The anchor's page; after a failure it is neither that nor the other.</param>
    /// <returns>False if the bytes are no patch.</returns>
    public static unsafe bool Apply(ReadOnlySpan<byte> patch, Span<byte> page)
    {
        if (patch.IsEmpty || page.Length != VirtualPage.Size) return false;
        fixed (byte* bytes = patch, there = page, masks = Masks)
        {
            for (int at = 0, end = 0; at < patch.Length;)
            {
                if (Sse2.IsSupported && ApplyShortRun(bytes, patch.Length, ref at, there, ref end, masks)) continue;
                var gap = Read(patch, ref at);
                var run = Read(patch, ref at);
                if (gap < (end == 0 ? 0 : 1) || run < 1 || run > patch.Length - at || gap + run > page.Length - end) return false;
                patch.Slice(at, run).CopyTo(page[(end + gap)..]);
                at += run;
                end += gap + run;
            }
        }

        return true;
    }

    /// <summary>
    /// Most runs are a word or two, of any length at any distance: what costs are branches that nobody can foretell. So sixteen
    /// bytes are read and written, those behind the run as they were. Pointers and the processor's own instructions: a restore runs this over everything.
    /// </summary>
    /// <returns>False, and nothing done, if the run is long, near an end, or breaks a rule.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe bool ApplyShortRun(byte* patch, int length, ref int at, byte* page, ref int end, byte* masks)
    {
        const int width = 16;
        if (length - at < 3 + width) return false;
        var bytes = patch + at; // nineteen of them are there
        int low = bytes[0], high = bytes[1];
        var isLong = low >> 7;
        var gap = low & 0x7f | (high << 7) * isLong;
        int run = bytes[1 + isLong];
        var start = end + gap;
        if ((run - 1 | width - run) < 0 || (high - 1 | 0x7f - high) < 0 && isLong != 0 || gap == 0 && end != 0 || start > VirtualPage.Size - width) return false;
        var mask = Sse2.LoadVector128(masks + width - run);
        var source = Sse2.LoadVector128(bytes + 2 + isLong);
        Sse2.Store(page + start, Sse2.Or(Sse2.And(mask, source), Sse2.AndNot(mask, Sse2.LoadVector128(page + start))));
        at += 2 + isLong + run;
        end = start + run;
        return true;
    }

    /// <summary>From place 16 - n on: n bytes of ones, then zeros.</summary>
    private static ReadOnlySpan<byte> Masks =>
    [
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    /// <summary>The first place from which on at least a few bytes are equal again, or the page's end; searched up to a limit.</summary>
    private static int EndOfRun(ReadOnlySpan<byte> from, ReadOnlySpan<byte> to, int start, int limit)
    {
        var end = start + 1;
        while (end < VirtualPage.Size && end <= limit)
        {
            if (from[end] != to[end])
            {
                end++;
                continue;
            }

            var same = 1;
            while (same < WorthwhileGap && end + same < VirtualPage.Size && from[end + same] == to[end + same]) same++;
            if (same == WorthwhileGap || end + same == VirtualPage.Size) return end;
            end += same;
        }

        return end;
    }

    private static int SizeOf(int value) => value < 0x80 ? 1 : 2;

    private static int Write(Span<byte> destination, int value)
    {
        if (value < 0x80)
        {
            destination[0] = (byte)value;
            return 1;
        }

        (destination[0], destination[1]) = ((byte)(value | 0x80), (byte)(value >> 7));
        return 2;
    }

    /// <summary>A number below 2^14 in its shortest form; -1 if there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Read(ReadOnlySpan<byte> bytes, ref int at)
    {
        if ((uint)at >= (uint)bytes.Length) return -1;
        int low = bytes[at++];
        if (low < 0x80) return low;
        if ((uint)at >= (uint)bytes.Length || bytes[at] is 0 or >= 0x80) return -1;
        return low & 0x7f | bytes[at++] << 7;
    }
}

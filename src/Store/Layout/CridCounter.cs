using System.Buffers.Binary;
using System.Diagnostics;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Codec;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Layout;

/// <summary>
/// The CRID counter: a file with two checksummed slots, written in turn under flock(2) and synced before a CRID is given
/// out, so that no CRID is ever given out twice. If a slot is damaged, or the file is gone, the counter goes on from the
/// highest CRID found anywhere in the store, with a leap for those that left no trace.
/// </summary>
internal static class CridCounter
{
    /// <summary>The leap over CRIDs that may have been given out and left no trace.</summary>
    public const ulong Leap = 10_000;

    private const ulong Magic = 0x6372_7374_6372_6964; // "crstcrid"
    private const int SlotStride = 512;                 // one sector each: a torn write spoils one slot
    private const int SlotSize = 20;

    /// <summary>Gives out the next CRID; durable when this returns.</summary>
    /// <param name="paths">Store.</param>
    /// <param name="timeout">How long to wait for others who are getting one.</param>
    /// <param name="highestInStore">Finds the highest CRID in the store; asked only if the counter is lost.</param>
    public static Crid Next(StorePaths paths, TimeSpan timeout, Func<Crid> highestInStore) => StoreErrors.Guard(() =>
    {
        using var file = FileCalls.Open(paths.Counter, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        var began = Stopwatch.GetTimestamp();
        while (!FileCalls.TryLock(file, shared: false, paths.Counter))
        {
            if (Stopwatch.GetElapsedTime(began) > timeout) throw new StoreBusyException($"{paths.Counter}: no CRID within {timeout.TotalSeconds:0.#} s");
            Thread.Sleep(1);
        }

        var whole = TryRead(file, paths, out var last);
        if (!whole) last = Math.Max(last, highestInStore().Value) + Leap;
        var next = checked(last + 1);
        Write(file, paths, next);
        if (!whole)
        {
            Write(file, paths, next - 1); // both slots good again
            FileCalls.SyncDirectory(paths.Root);
        }

        return new Crid(next);
    });

    /// <summary>
    /// Makes the counter of a new store. A store that is completed may be an old one, of which a backup brought back only
    /// a part: there, a counter that isn't whole goes on behind all that the store knows. The caller syncs the directory.
    /// </summary>
    /// <param name="paths">Store.</param>
    /// <param name="highestInStore">Finds the highest CRID in the store; null if there was no database before.</param>
    public static void Create(StorePaths paths, Func<Crid>? highestInStore)
    {
        using var file = FileCalls.Open(paths.Counter, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        if (TryRead(file, paths, out var last)) return;
        last = highestInStore is null ? 0 : Math.Max(last, highestInStore().Value) + Leap;
        FileCalls.SetLength(file, 0, paths.Counter);
        Write(file, paths, last);
        Write(file, paths, last == 0 ? 0 : last - 1, slot: (int)(~last & 1));
        FileCalls.Sync(file, paths.Counter);
    }

    private static bool TryRead(SafeFileHandle file, StorePaths paths, out ulong last)
    {
        Span<byte> bytes = stackalloc byte[2 * SlotStride];
        bytes.Clear();
        FileCalls.ReadAt(file, bytes, 0, paths.Counter);
        last = 0;
        var good = 0;
        for (var slot = 0; slot < 2; slot++)
        {
            var s = bytes.Slice(slot * SlotStride, SlotSize);
            var value = BinaryPrimitives.ReadUInt64LittleEndian(s[8..]);
            if (BinaryPrimitives.ReadUInt64LittleEndian(s) != Magic ||
                BinaryPrimitives.ReadUInt32LittleEndian(s[16..]) != Crc32C.Of(s[..16], Magic) || (value != 0 && (int)(value & 1) != slot)) continue;
            last = Math.Max(last, value);
            good++;
        }

        return good == 2;
    }

    private static void Write(SafeFileHandle file, StorePaths paths, ulong value) => Write(file, paths, value, (int)(value & 1));

    private static void Write(SafeFileHandle file, StorePaths paths, ulong value, int slot)
    {
        Span<byte> bytes = stackalloc byte[SlotSize];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, Magic);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], value);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[16..], Crc32C.Of(bytes[..16], Magic));
        FileCalls.WriteAt(file, bytes, (long)slot * SlotStride, paths.Counter);
        FileCalls.Sync(file, paths.Counter, dataOnly: true);
    }
}

using System.Runtime.InteropServices;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Layout;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Writing;

/// <summary>
/// Content addresses in the order in which they came. The first ones stay in memory; what comes after them, of captures of many gigabytes,
/// lies in a file without a name, which goes with its process. Reading is thread safe as long as nobody adds. The index is made from these: an address that a
/// disk gave back wrongly would be another page's, so each piece in the file has a checksum here.
/// </summary>
/// <param name="path">Where the file is made, and unlinked at once.</param>
/// <param name="inMemory">How many stay in memory, a multiple of <see cref="PieceSize"/>.</param>
internal sealed class HashLog(string path, uint inMemory) : IDisposable
{
    /// <summary>Addresses in a piece, 128 KiB.</summary>
    public const int PieceSize = 1 << PieceShift;

    private const int PieceShift = 12;
    private readonly List<ContentHash[]> pieces = []; // never moved
    private readonly uint kept = inMemory % PieceSize == 0 ? inMemory : throw new ArgumentException("no whole pieces", nameof(inMemory));
    private readonly List<uint> checksums = []; // of the pieces in the file
    private SafeFileHandle? file;
    private ContentHash[]? open; // the last piece, if it belongs to the file
    private uint written;        // below: in memory, or in the file

    /// <summary>How many there are.</summary>
    public uint Count { get; private set; }

    /// <summary>One of them.</summary>
    public ContentHash this[uint number]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(number, Count);
            if (number < kept) return pieces[(int)(number >> PieceShift)][number & (PieceSize - 1)];
            if (number >= written) return open![number - written];
            ContentHash hash = default;
            Read(number, MemoryMarshal.CreateSpan(ref hash, 1));
            return hash;
        }
    }

    /// <summary>Adds one.</summary>
    public void Add(in ContentHash hash)
    {
        var place = Count & (PieceSize - 1);
        if (Count < kept)
        {
            if (place == 0) pieces.Add(new ContentHash[PieceSize]);
            pieces[^1][place] = hash;
            written = ++Count;
            return;
        }

        open ??= new ContentHash[PieceSize];
        if (Count - written == PieceSize) WriteOpen();
        open[Count++ - written] = hash;
    }

    /// <summary>Consecutive ones, by pieces.</summary>
    /// <param name="number">The first one of a piece.</param>
    /// <param name="room">A piece long; used for what lies in the file.</param>
    /// <returns>At most <see cref="PieceSize"/>; empty behind the end.</returns>
    /// <exception cref="EnvironmentException">The file has not what was written to it.</exception>
    public ReadOnlySpan<ContentHash> Piece(uint number, ContentHash[] room)
    {
        if (number % PieceSize != 0) throw new ArgumentException($"{number} is not the start of a piece", nameof(number));
        if (number >= Count) return default;
        var count = (int)Math.Min(PieceSize, Count - number);
        if (number < kept) return pieces[(int)(number >> PieceShift)].AsSpan(0, count);
        if (number >= written) return open.AsSpan(0, count);
        Read(number, room.AsSpan(0, count));
        if (ChecksumOf(number, room.AsSpan(0, count)) != checksums[(int)((number - kept) >> PieceShift)])
            throw new EnvironmentException($"{path}: the disk has not what was written to it, from {OffsetOf(number)} on", "nothing was committed; look at the disk (dmesg), then capture again");
        return room.AsSpan(0, count);
    }

    /// <inheritdoc/>
    public void Dispose() => file?.Dispose();

    private void WriteOpen()
    {
        try
        {
            if (file is null)
            {
                file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow);
                FileCalls.Unlink(path);
            }

            FileCalls.WriteAt(file, MemoryMarshal.AsBytes(open.AsSpan()), OffsetOf(written), path);
        }
        catch (LinuxException e)
        {
            throw StoreErrors.Of(e);
        }

        checksums.Add(ChecksumOf(written, open));
        written = Count;
    }

    private static uint ChecksumOf(uint number, ReadOnlySpan<ContentHash> piece) => Crc32C.Of(MemoryMarshal.AsBytes(piece), number);

    private void Read(uint number, Span<ContentHash> to)
    {
        var bytes = MemoryMarshal.AsBytes(to);
        int read;
        try
        {
            read = FileCalls.ReadAt(file!, bytes, OffsetOf(number), path);
        }
        catch (LinuxException e)
        {
            throw StoreErrors.Of(e);
        }

        if (read != bytes.Length) throw new EnvironmentException($"{path}: {read} bytes instead of {bytes.Length} from {OffsetOf(number)} on");
    }

    private long OffsetOf(uint number) => (long)(number - kept) * ContentHash.Size;
}

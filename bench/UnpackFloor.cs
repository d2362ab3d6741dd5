using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Bench;

/// <summary>
/// What giving an image back takes at least, if it was compressed and is checked: its 64 KiB frames from warm memory, unpacked, SHA-256 of each page, and a write to
/// a file, one behind the other on each core, all cores at it. Nobody looks up where a frame is, reads it, or starts a process.
/// </summary>
internal sealed class UnpackFloor
{
    private const int FrameBytes = ChunkLocation.SlotsPerFrame * VirtualPage.Size;
    private readonly byte[][] _frames;
    private readonly int _size;

    [ThreadStatic]
    private static byte[]? _work;

    /// <summary>Compresses the image, as crstore does.</summary>
    public UnpackFloor(ReadOnlyMemory<byte> image)
    {
        _size = image.Length;
        _frames = new byte[(image.Length + FrameBytes - 1) / FrameBytes][];
        Parallel.For(0, _frames.Length, i =>
        {
            var pages = image.Span[(i * FrameBytes)..Math.Min(image.Length, (i + 1) * FrameBytes)];
            var packed = Work(ZstdCompressor.Bound(FrameBytes));
            _frames[i] = packed[..ZstdCompressor.ThisThread.WrapFast(pages, packed)];
        });
    }

    /// <summary>Writes the image to a file that is not there yet.</summary>
    public void Write(string path)
    {
        using var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
        Parallel.For(0, _frames.Length, i =>
        {
            var at = i * FrameBytes;
            var pages = Work(FrameBytes).AsSpan(0, Math.Min(FrameBytes, _size - at));
            if (ZstdDecompressor.ThisThread.Unwrap(_frames[i], pages, out var error) != pages.Length) throw new InvalidDataException(error);
            for (var page = 0; page < pages.Length; page += VirtualPage.Size) _ = PageHash.Of(pages.Slice(page, VirtualPage.Size));
            RandomAccess.Write(file, pages, at);
        });
    }

    private static byte[] Work(int size) => _work is { } there && there.Length >= size ? there : _work = GC.AllocateUninitializedArray<byte>(size);
}

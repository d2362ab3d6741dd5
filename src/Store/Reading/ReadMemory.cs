using Crstore.Linux.Memory;

namespace Crstore.Store.Reading;

/// <summary>
/// Memory for the records of a read, outside the garbage collector's sight: arrays of megabytes would make it collect in the middle.
/// Populated a part ahead of its use, for less than the faults would cost. Not thread safe, nor touched for what is not used.
/// </summary>
internal sealed unsafe class ReadMemory : IDisposable
{
    private const int Step = 256 << 10;
    private MappedMemory? memory;
    private int populated;

    /// <summary>Where it is; another place after <see cref="Reserve"/>.</summary>
    public byte* Address { get; private set; }

    /// <summary>Bytes that may be used.</summary>
    public int Bytes => memory?.SizeBytes ?? 0;

    /// <summary>Makes it larger if it has to be.</summary>
    /// <param name="bytes">At least so many.</param>
    /// <param name="used">Bytes at its start that are kept.</param>
    public void Reserve(long bytes, int used)
    {
        if (bytes <= Bytes) return;
        if (bytes > MappedMemory.MaxBytes) throw new InvalidOperationException($"a read whose records take {bytes} bytes");
        var larger = new MappedMemory((int)((bytes + Step - 1) / Step * Step), huge: false);
        populated = 0;
        if (used > 0)
        {
            Populate(larger, used);
            memory!.GetSpan()[..used].CopyTo(larger.GetSpan());
        }

        Dispose();
        memory = larger;
        Address = (byte*)larger.Address;
    }

    /// <summary>Says that bytes up to this one will be used now.</summary>
    public void Use(int bytes)
    {
        if (bytes > populated) Populate(memory!, bytes);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        ((IDisposable?)memory)?.Dispose();
        memory = null;
        Address = null;
    }

    private void Populate(MappedMemory there, int bytes)
    {
        var to = Math.Min(there.SizeBytes, (bytes + Step - 1) / Step * Step);
        there.Populate(populated, to - populated); // else each page is when it is touched
        populated = to;
    }
}

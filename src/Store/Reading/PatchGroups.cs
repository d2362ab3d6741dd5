using System.Buffers;
using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// The patch groups of an image that is read window by window. In each window a CRID's patches begin in the group in which those of
/// the window before ended: that one is kept, unless it is the CRID's last one, which has room left. Thread safe.
/// </summary>
internal sealed class PatchGroups(RocksDb db)
{
    private const ulong Places = 2048; // a CRID that has another one's place does without
    private const int MaxBytes = 32 << 20; // of all that are kept; mostly they are some KiB each
    private readonly ArrayPool<byte> memory = ArrayPool<byte>.Create(1 << 20, (int)Places);
    private readonly Kept?[] last = new Kept?[Places];
    private int bytes;

    /// <summary>Starts to read groups in stored order.</summary>
    public Cursor Begin() => new(this, db);

    // Whoever takes one has it for himself.
    private Kept? TryTake(PatchGroupId id)
    {
        ref var place = ref last[id.Crid.Value % Places];
        if (Volatile.Read(ref place) is not { } there || there.Group.Id.Crid.Value != id.Crid.Value || there.Group.Id.Number != id.Number) return null;
        return Interlocked.CompareExchange(ref place, null, there) == there ? there : null;
    }

    private Kept? TryCopy(PatchGroup group)
    {
        if (Volatile.Read(ref bytes) > MaxBytes - group.MemoryBytes) return null;
        byte[] buffer = [];
        try
        {
            return new Kept(group.Detached(patches: true, size => buffer = Count(memory.Rent(size))), buffer);
        }
        catch
        {
            Drop(buffer); // damaged: it does not unpack
            throw;
        }
    }

    private void Keep(Kept kept)
    {
        if (Interlocked.Exchange(ref last[kept.Group.Id.Crid.Value % Places], kept) is { } before) Drop(before.Buffer);
    }

    private void Drop(byte[] buffer)
    {
        Interlocked.Add(ref bytes, -buffer.Length);
        if (buffer.Length > 0) memory.Return(buffer);
    }

    private byte[] Count(byte[] buffer)
    {
        Interlocked.Add(ref bytes, buffer.Length);
        return buffer;
    }

    /// <summary>Reads groups. One that it gives is valid until the next one.</summary>
    internal sealed class Cursor(PatchGroups groups, RocksDb db) : IDisposable
    {
        private Kept? current;
        private bool currentIsLast;

        /// <summary>A group, unpacked.</summary>
        /// <param name="id">Which.</param>
        /// <param name="isLast">The last one of its CRID in this window, and others follow.</param>
        /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
        public PatchGroup Read(PatchGroupId id, bool isLast)
        {
            Leave();
            currentIsLast = isLast;
            if ((current = groups.TryTake(id)) is not null) return current.Group;
            var scratch = FrameScratch.OfThisThread;
            var group = scratch.Group(db, id);
            if (isLast && group.Slots == PatchGroupId.Slots && (current = groups.TryCopy(group)) is not null) return current.Group;
            group.UnpackInto(scratch.Unpacked);
            return group;
        }

        /// <inheritdoc/>
        public void Dispose() => Leave();

        private void Leave()
        {
            if (current is null) return;
            if (currentIsLast) groups.Keep(current);
            else groups.Drop(current.Buffer);
            current = null;
        }
    }

    private sealed record Kept(PatchGroup Group, byte[] Buffer);
}

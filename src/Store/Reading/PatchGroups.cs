using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// The patch groups of an image that is read window by window. In each window a CRID's patches begin in the group in which those of
/// the window before ended: that one is kept. Thread safe.
/// </summary>
internal sealed class PatchGroups(RocksDb db)
{
    private const ulong Places = 2048; // a CRID that has another one's place does without
    private const long MaxBytes = 32 << 20; // of all that are kept; mostly they are some KiB each
    private readonly PatchGroup?[] last = new PatchGroup?[Places];
    private long bytes;

    /// <summary>Starts to read groups in stored order.</summary>
    public Cursor Begin() => new(this, db);

    /// <summary>Reads groups in ascending order, neighbours without a lookup each. A group that it gives is valid until the next one.</summary>
    internal sealed class Cursor(PatchGroups groups, RocksDb db) : IDisposable
    {
        private const uint Near = 4; // a few steps cost less than a leap
        private RocksIterator? iterator;
        private PatchGroupId at; // where the iterator is, if it is anywhere

        /// <summary>A group.</summary>
        /// <param name="id">Which.</param>
        /// <param name="isLast">The last one of its CRID in this window.</param>
        /// <param name="kept">It is kept, and other reads may be using it.</param>
        /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
        public PatchGroup Read(PatchGroupId id, bool isLast, out bool kept)
        {
            ref var place = ref groups.last[id.Crid.Value % Places];
            kept = true;
            if (Volatile.Read(ref place) is { } last && last.Id.Crid.Value == id.Crid.Value && last.Id.Number == id.Number) return last;
            if (!MoveTo(id)) throw new StoreDamagedException($"{id}: missing");
            var group = PatchGroup.Parse(id, iterator!.ValueMemory);
            kept = isLast && Volatile.Read(ref groups.bytes) < MaxBytes - group.MemoryBytes;
            if (!kept) return group;
            group = group.Detached(patches: true);
            var before = Interlocked.Exchange(ref place, group);
            Interlocked.Add(ref groups.bytes, group.MemoryBytes - (before?.MemoryBytes ?? 0));
            return group;
        }

        /// <inheritdoc/>
        public void Dispose() => iterator?.Dispose();

        private bool MoveTo(PatchGroupId id)
        {
            iterator ??= db.Iterate(ColumnFamily.Patches, scan: false);
            var there = true;
            if (at.Crid.Value == id.Crid.Value && id.Number > at.Number && id.Number - at.Number <= Near)
            {
                while (there && at.Crid.Value == id.Crid.Value && at.Number < id.Number) there = Note(iterator.Next());
            }
            else
            {
                Span<byte> key = stackalloc byte[Keys.FrameSize];
                Keys.PatchGroup(id, key);
                there = Note(iterator.Seek(key));
            }

            return there && at.Crid.Value == id.Crid.Value && at.Number == id.Number;
        }

        private bool Note(bool there)
        {
            at = there ? Keys.PatchGroupOf(iterator!.Key) : default;
            return there;
        }
    }
}

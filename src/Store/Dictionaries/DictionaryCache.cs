using Crstore.Store.Native;

namespace Crstore.Store.Dictionaries;

/// <summary>
/// The dictionaries used last. A dictionary never changes, and frames that lie together have one, so few are enough; each takes up to 24 MiB. Thread safe.
/// </summary>
internal sealed class DictionaryCache(RocksDb? db)
{
    private const int Capacity = 3;
    private readonly Lock gate = new();
    private readonly List<StoredDictionary> known = []; // the last used one last
    private volatile StoredDictionary? last;

    /// <summary>Knows that one alone.</summary>
    public static DictionaryCache Of(StoredDictionary one) => new(null) { last = one };

    /// <summary>A dictionary; null if the store has none of that number.</summary>
    public StoredDictionary? Find(DictionaryId id)
    {
        if (last is { } same && same.Id == id) return same;
        lock (gate)
        {
            var found = known.Find(d => d.Id == id);
            if (found is not null) known.Remove(found);
            else if (db is not null) found = StoredDictionary.Load(db, id);
            if (found is null) return null;
            if (known.Count == Capacity) known.RemoveAt(0);
            known.Add(found);
            return last = found;
        }
    }
}

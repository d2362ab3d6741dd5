namespace Crstore.Store.Reading;

/// <summary>The records read last, parsed. Thread safe.</summary>
/// <param name="capacity">Records kept.</param>
/// <param name="load">Reads one; errors are the caller's.</param>
internal class RecordCache<TId, TRecord>(int capacity, Func<TId, TRecord> load)
    where TId : struct, IEquatable<TId>
    where TRecord : class
{
    private readonly Lock gate = new();
    private readonly Dictionary<TId, TRecord> records = [];
    private readonly Queue<TId> order = new();

    /// <summary>A record.</summary>
    /// <exception cref="Model.StoreDamagedException">It is missing or damaged.</exception>
    public TRecord Get(TId id)
    {
        lock (gate)
            if (records.TryGetValue(id, out var known)) return known;
        var record = load(id);
        lock (gate)
        {
            if (records.TryGetValue(id, out var known)) return known; // two asked at once
            if (order.Count >= capacity) records.Remove(order.Dequeue());
            records.Add(id, record);
            order.Enqueue(id);
        }

        return record;
    }
}

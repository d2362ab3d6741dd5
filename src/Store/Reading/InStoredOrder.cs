using Crstore.Model;

namespace Crstore.Store.Reading;

/// <summary>Reads many records on all cores. The cores meet damage in any order; it is told of in stored order.</summary>
internal static class InStoredOrder
{
    private const int Unit = 8; // records taken by a core at a time
    private const int Few = 3;  // not worth waking the other cores

    /// <summary>Runs the body for the records 0 up to <paramref name="count"/>, without it.</summary>
    /// <exception cref="StoreDamagedException">Of the first record that is damaged; behind it, some were not looked at.</exception>
    public static void For(int count, Action<int> body) => For<object?>(count, Unit, () => null, (i, _) => body(i));

    /// <summary>The same with something that serves for some neighbours.</summary>
    /// <param name="count">Records.</param>
    /// <param name="unit">Neighbours taken by a core at a time.</param>
    /// <param name="begin">Makes it; it is disposed of if it can be.</param>
    /// <param name="body">Takes a record's number and it.</param>
    /// <exception cref="StoreDamagedException">The same.</exception>
    public static void For<TServant>(int count, int unit, Func<TServant> begin, Action<int, TServant> body)
    {
        var first = new FirstFailure();
        if (count <= Few) Run(0, count, begin, body, first);
        else AllCores.For(0, (count + unit - 1) / unit, u => Run(u * unit, Math.Min((u + 1) * unit, count), begin, body, first));
        if (first.Failure is { } failure) throw failure;
    }

    private static void Run<TServant>(int from, int to, Func<TServant> begin, Action<int, TServant> body, FirstFailure first)
    {
        var servant = begin();
        try
        {
            for (var i = from; i < to && !first.IsBefore(i); i++)
            {
                try
                {
                    body(i, servant);
                }
                catch (StoreDamagedException e)
                {
                    first.Note(i, e);
                }
            }
        }
        finally
        {
            (servant as IDisposable)?.Dispose();
        }
    }

    private sealed class FirstFailure
    {
        private readonly Lock gate = new();
        private int record = int.MaxValue;

        public StoreDamagedException? Failure { get; private set; }

        public bool IsBefore(int other) => other > Volatile.Read(ref record);

        public void Note(int failed, StoreDamagedException failure)
        {
            lock (gate)
                if (failed < record) (record, Failure) = (failed, failure);
        }
    }
}

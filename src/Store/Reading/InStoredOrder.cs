using Crstore.Model;

namespace Crstore.Store.Reading;

/// <summary>Reads many records on all cores. The cores meet damage in any order; it is told of in stored order.</summary>
internal static class InStoredOrder
{
    private const int Unit = 8; // records taken by a core at a time
    private const int Few = 3;  // not worth waking the other cores

    /// <summary>Runs the body for the records 0 up to <paramref name="count"/>, without it.</summary>
    /// <exception cref="StoreDamagedException">Of the first record that is damaged; behind it, some were not looked at.</exception>
    public static void For(int count, Action<int> body)
    {
        if (count <= Few)
        {
            for (var i = 0; i < count; i++) body(i);
            return;
        }

        var first = new FirstFailure();
        AllCores.For(0, (count + Unit - 1) / Unit, unit =>
        {
            for (var i = unit * Unit; i < Math.Min((unit + 1) * Unit, count) && !first.IsBefore(i); i++)
            {
                try
                {
                    body(i);
                }
                catch (StoreDamagedException e)
                {
                    first.Note(i, e);
                }
            }
        });
        if (first.Failure is { } failure) throw failure;
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

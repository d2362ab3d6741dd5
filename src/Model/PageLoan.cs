namespace Crstore.Model;

/// <summary>
/// Counts who still reads a piece of memory that was given to the store without a copy of it: its owner may not write to it, or unmap it, before
/// <see cref="Await"/> has returned. Thread safe.
/// </summary>
public sealed class PageLoan
{
    private readonly object gate = new();
    private int readers;

    /// <summary>One more uses it. Only from within a call that it is given to, or by its owner.</summary>
    public void Take()
    {
        lock (gate) readers++;
    }

    /// <summary>One of them is done.</summary>
    public void Return()
    {
        lock (gate)
            if (--readers == 0) Monitor.PulseAll(gate);
    }

    /// <summary>Waits until nobody reads it.</summary>
    public void Await()
    {
        lock (gate)
            while (readers > 0) Monitor.Wait(gate);
    }
}

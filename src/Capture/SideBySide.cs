using System.Runtime.ExceptionServices;

namespace Crstore.Capture;

/// <summary>The same for several things on several threads, the caller's among them. For what takes milliseconds: each further thread is made anew.</summary>
internal static class SideBySide
{
    /// <summary>Runs the body for each item; those at the beginning begin first.</summary>
    /// <param name="items">Of these.</param>
    /// <param name="threads">At a time, at the most.</param>
    /// <param name="body">What to do.</param>
    /// <exception cref="Exception">The first one that the body has thrown, when all are over; items that were not begun by then are left out.</exception>
    public static void ForEach<T>(IReadOnlyList<T> items, int threads, Action<T> body)
        where T : class
    {
        var next = -1;
        Exception? failure = null;
        var others = new List<Thread>();
        for (var i = 1; i < Math.Min(threads, items.Count); i++)
        {
            var other = new Thread(Work) { IsBackground = true, Name = "crstore beside" };
            try
            {
                other.Start();
            }
            catch (OutOfMemoryException)
            {
                break; // no more threads are to be had here (pids.max): fewer do it, and nobody is left behind at work
            }

            others.Add(other);
        }

        Work();
        foreach (var other in others) other.Join();
        if (failure is not null) ExceptionDispatchInfo.Throw(failure);

        void Work()
        {
            while (Volatile.Read(ref failure) is null && Interlocked.Increment(ref next) is var i && i < items.Count)
            {
                try
                {
                    body(items[i]);
                }
                catch (Exception e)
                {
                    Interlocked.CompareExchange(ref failure, e, null);
                }
            }
        }
    }
}

using System.Runtime.ExceptionServices;

namespace Crstore.Store;

/// <summary>Parallel loops whose errors are those of the body: the user is told what is wrong, not that "one or more errors occurred".</summary>
internal static class AllCores
{
    /// <summary>Runs the body for <paramref name="from"/> up to <paramref name="to"/>, without it.</summary>
    public static void For(int from, int to, Action<int> body) => Unwrap(() => Parallel.For(from, to, body));

    /// <summary>Runs the body for each item.</summary>
    public static void ForEach<T>(IEnumerable<T> items, Action<T> body) => Unwrap(() => Parallel.ForEach(items, body));

    private static void Unwrap(Action loop)
    {
        try
        {
            loop();
        }
        catch (AggregateException e) when (e.Flatten().InnerExceptions is [var first, ..])
        {
            ExceptionDispatchInfo.Throw(first);
        }
    }
}

namespace Crstore.Cli;

/// <summary>What is to be disposed of together, the last one first: at a moment that no block of code ends with.</summary>
internal sealed class Disposables : IDisposable
{
    private readonly Stack<IDisposable> held = new();

    /// <summary>Adds one.</summary>
    public T Add<T>(T one) where T : IDisposable
    {
        held.Push(one);
        return one;
    }

    /// <summary>Disposes of all there are; once is enough.</summary>
    public void Dispose()
    {
        while (held.TryPop(out var one)) one.Dispose();
    }
}

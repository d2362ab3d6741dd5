using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Where pages of running processes are read to that go to the store at once: two windows in turn, lent to the store as they are. One is read and hashed while what the other one has is
/// compressed. They stay from one process to the next, and are there from the first use on.
/// </summary>
public sealed class CopyWindows : IDisposable
{
    private const int Count = 2;
    private readonly (MappedMemory Memory, PageLoan Loan)[] _windows = new (MappedMemory, PageLoan)[Count];
    private readonly Lock _gate = new();
    private int _next;

    /// <summary>The window that was used the longest ago. Waits until the store, and whoever else had it, has done with it. Thread safe.</summary>
    /// <returns>The caller's alone until it returns the loan, in which it is counted.</returns>
    public (MappedMemory Memory, PageLoan Loan) Next()
    {
        using var one = _gate.EnterScope();
        ref var window = ref _windows[_next];
        if (window.Memory is null) window = (new MappedMemory(PreCopier.WindowBytes, huge: true), new PageLoan());
        window.Loan.Await();
        window.Loan.Take();
        _next = (_next + 1) % Count;
        return window;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var (memory, loan) in _windows)
        {
            loan?.Await();
            ((IDisposable?)memory)?.Dispose();
        }

        Array.Clear(_windows);
    }
}

namespace Crstore.Objects;

/// <summary>System calls made by a process that is being put together again. On the ptrace thread.</summary>
public interface IProcessCalls
{
    /// <summary>Its process id in its own pid namespace.</summary>
    int Pid { get; }

    /// <summary>Puts bytes into the process for one of the next calls; valid until that call has been made.</summary>
    /// <returns>Their address there.</returns>
    ulong Place(ReadOnlySpan<byte> bytes);

    /// <summary>Queues a call that must succeed. Queued calls are made in order, before the next <see cref="Call"/> at the latest.</summary>
    /// <param name="what">Names the call and its object, for the error.</param>
    /// <param name="number">Of x86-64.</param>
    /// <param name="arguments">At most six.</param>
    void Queue(string what, long number, params ReadOnlySpan<long> arguments);

    /// <summary>Makes a call, after what is queued.</summary>
    /// <returns>Its result: -errno if it failed.</returns>
    long Call(string what, long number, params ReadOnlySpan<long> arguments);

    /// <summary>Makes what is queued.</summary>
    /// <exception cref="Model.EnvironmentException">A call failed; names it.</exception>
    void Flush();

    /// <summary>Reads the process's memory.</summary>
    void Read(ulong address, Span<byte> destination);
}

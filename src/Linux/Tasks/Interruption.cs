using System.Runtime.InteropServices;

namespace Crstore.Linux;

/// <summary>
/// SIGINT and SIGTERM to this program. The first one asks for an end; a second one ends it at once. What works in steps may have one more before them,
/// which asks for the end of the step: <see cref="FinishFirst"/>. Somebody may take them over at any time, and is then told of every one, the first
/// included if it has come already: none falls between the two.
/// </summary>
public sealed class Interruption : IDisposable
{
    private readonly Lock gate = new();
    private readonly CancellationTokenSource source = new();
    private readonly PosixSignalRegistration[] registrations;
    private Action<int>? taker;
    private CancellationTokenSource? finish;
    private int first;

    /// <summary>Listens from now on.</summary>
    public Interruption() => registrations =
    [
        PosixSignalRegistration.Create(PosixSignal.SIGINT, context => Came(context, Signals.SIGINT)),
        PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => Came(context, Signals.SIGTERM)),
    ];

    /// <summary>Cancelled by the first one that nobody had taken over.</summary>
    public CancellationToken Token => source.Token;

    /// <summary>The next one cancels what this returns, and nothing else; from then on it goes as without it.</summary>
    public CancellationToken FinishFirst()
    {
        lock (gate) return (finish ??= new CancellationTokenSource()).Token;
    }

    /// <summary>Tells of every one from now on, and of one that has come already.</summary>
    /// <param name="told">Gets the number of the signal. Called by any thread, one at a time.</param>
    public void TakeOver(Action<int> told)
    {
        lock (gate)
        {
            taker = told;
            if (first != 0) told(first);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var registration in registrations) registration.Dispose();
        source.Dispose();
        finish?.Dispose();
    }

    private void Came(PosixSignalContext context, int signal)
    {
        var asked = source;
        lock (gate)
        {
            if (taker is not null)
            {
                context.Cancel = true;
                taker(signal);
                return;
            }

            if (finish is { IsCancellationRequested: false }) asked = finish;
            else if (first != 0) return;
            else first = signal;
            context.Cancel = true;
        }

        asked.Cancel();
    }
}

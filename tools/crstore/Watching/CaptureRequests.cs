using System.Runtime.InteropServices;
using Crstore.Linux;

namespace Crstore.Cli.Watching;

/// <summary>`watch --on-signal`: SIGUSR1 asks for a capture. One that comes while a capture goes on asks for another; several that come before it begins are one.</summary>
internal sealed class CaptureRequests : IDisposable
{
    private readonly PosixSignalRegistration _registration;
    private int _asked;

    /// <summary>Listens from now on.</summary>
    /// <param name="life">Is woken by each.</param>
    public CaptureRequests(TargetLife life) => _registration = PosixSignalRegistration.Create((PosixSignal)Signals.SIGUSR1, context =>
    {
        context.Cancel = true; // it would end the program
        Volatile.Write(ref _asked, 1);
        life.Wake();
    });

    /// <summary>Somebody has asked, and nothing was captured since.</summary>
    public bool IsAsked => Volatile.Read(ref _asked) != 0;

    /// <summary>A capture begins: it answers all that have asked so far. True if somebody has.</summary>
    public bool Take() => Interlocked.Exchange(ref _asked, 0) != 0;

    /// <inheritdoc/>
    public void Dispose() => _registration.Dispose();
}

using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Cli;

/// <summary>The process behind a <see cref="LazyFront"/>, which waits for the byte that lets it go.</summary>
internal sealed class LazyWorker : IDisposable
{
    private readonly SafeFileHandle report = new(LazyFront.ReportFd, ownsHandle: true);

    private LazyWorker()
    {
        Environment.SetEnvironmentVariable(LazyFront.WorkerVariable, null); // hooks may run crstore themselves
        Descriptors.KeepFromChildren();
    }

    /// <summary>If this process is one.</summary>
    public static LazyWorker? Join() => Environment.GetEnvironmentVariable(LazyFront.WorkerVariable) is null ? null : new LazyWorker();

    /// <summary>Everything is said: the front may go, and nobody waits for an end of our output any more.</summary>
    public void LetGo(CommandContext context)
    {
        context.Out.Flush();
        Descriptors.ForgetStandardStreams();
        RawFile.TryWrite(report, [1]); // a front that was killed is none to tell
        Dispose();
    }

    /// <inheritdoc/>
    public void Dispose() => report.Dispose();
}

using System.Diagnostics;
using System.Globalization;

namespace Crstore.Tests.Crash;

/// <summary>A running StoreDriver. Its stdin is ours: it ends with the test.</summary>
internal sealed class DriverProcess : IDisposable
{
    private readonly System.Diagnostics.Process process;
    private readonly Task<string> errors;

    public DriverProcess(string store, string oracles, string number, int seed, int operations, string? script = null, string? fault = null)
    {
        string[] arguments = [store, oracles, number, seed.ToString(CultureInfo.InvariantCulture), operations.ToString(CultureInfo.InvariantCulture)];
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "Crstore.StoreDriver"), script is null ? arguments : [.. arguments, script])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["DOTNET_TieredCompilation"] = "1";
        start.Environment.Remove("CRSTORE_FAULT");
        if (fault is not null) start.Environment["CRSTORE_FAULT"] = fault;
        process = System.Diagnostics.Process.Start(start)!;
        errors = process.StandardError.ReadToEndAsync();
    }

    /// <summary>What it said on stderr, once it has ended.</summary>
    public string Errors => errors.Result;

    /// <summary>Waits until it has started, or until it has done its first capture and is on the way.</summary>
    public void WaitFor(string word)
    {
        while (process.StandardOutput.ReadLine() is { } line && line != word) continue;
    }

    /// <summary>SIGKILL.</summary>
    public void Kill() => process.Kill();

    /// <summary>Waits for its end; the exit code, 137 for SIGKILL.</summary>
    public int WaitForExit()
    {
        if (!process.WaitForExit(TimeSpan.FromMinutes(12)))
        {
            process.Kill();
            throw new TimeoutException("the driver hangs");
        }

        return process.ExitCode;
    }

    public void Dispose()
    {
        if (!process.HasExited) process.Kill();
        process.WaitForExit();
        process.Dispose();
    }
}

using System.Diagnostics;
using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Tests.Crash.Injection;

/// <summary>tests/Crash/InjectDriver as a process that gets killed.</summary>
internal sealed class InjectDriver : IDisposable
{
    private readonly Process _process;

    private InjectDriver(int pid, params string[] arguments) => _process = Process.Start(
        new ProcessStartInfo(Program(), [pid.ToString(CultureInfo.InvariantCulture), .. arguments]) { RedirectStandardOutput = true })!;

    /// <summary>Starts injecting into a process until killed, or for so many rounds; returns after its first line.</summary>
    public static InjectDriver Start(int pid, int? rounds, out string firstLine)
    {
        var driver = new InjectDriver(pid, rounds is { } some ? [some.ToString(CultureInfo.InvariantCulture)] : []);
        firstLine = driver.ReadLine();
        return driver;
    }

    /// <summary>Starts one that stays in the middle of an injection until killed; returns when it is there, or can't be.</summary>
    public static InjectDriver StartHanging(int pid, out string firstLine)
    {
        var driver = new InjectDriver(pid, "hang", Patience.Limit.TotalMilliseconds.ToString(CultureInfo.InvariantCulture));
        firstLine = driver.ReadLine();
        return driver;
    }

    /// <summary>SIGKILL, and waits until the kernel has taken it apart and so let its tracees go.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Waits for the end of its rounds; exit code and what else it said.</summary>
    public (int ExitCode, string Output) Finish()
    {
        var output = _process.StandardOutput.ReadToEnd();
        _process.WaitForExit();
        return (_process.ExitCode, output);
    }

    private string ReadLine() => _process.StandardOutput.ReadLine() ?? "nothing";

    public void Dispose()
    {
        if (!_process.HasExited) Kill();
        _process.Dispose();
    }

    /// <summary>The published one (Native AOT, as the program is) is named by tools/crash-inject.sh.</summary>
    public static string Program()
    {
        if (Environment.GetEnvironmentVariable("CRSTORE_INJECT_DRIVER") is { Length: > 0 } given) return given;
        var configuration = AppContext.BaseDirectory.Contains("/Release/", StringComparison.Ordinal) ? "Release" : "Debug";
        return Repository.Path("tests", "Crash", "InjectDriver", "bin", configuration, "net10.0", "linux-x64", "Crstore.InjectDriver");
    }
}

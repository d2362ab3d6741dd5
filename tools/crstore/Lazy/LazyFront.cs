using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Cli;

/// <summary>
/// What the user waits for with `capture --lazy`: starts the same program once more in a session of its own (<see cref="LazyWorker"/>), which does it
/// all, writes to our standard output and error, and lets us go as soon as the target runs again. .NET can't fork(2).
/// </summary>
internal static class LazyFront
{
    /// <summary>The number under which the worker finds its end of the pipe: above what shells hand down.</summary>
    public const int ReportFd = 199;

    /// <summary>Tells the program that it is the worker.</summary>
    public const string WorkerVariable = "CRSTORE_LAZY_WORKER";

    /// <summary>True if a command line asks for it, and we are not the worker.</summary>
    public static bool IsWanted(string[] args) =>
        Environment.GetEnvironmentVariable(WorkerVariable) is null && args.Contains("capture") && args.Any(IsLazy);

    // Whatever its value is: the worker, which parses it, may also do all of it before it lets go.
    private static bool IsLazy(string arg) => arg.AsSpan().StartsWith(Verbs.CaptureVerb.LazyOption, StringComparison.Ordinal)
        && (arg.Length == Verbs.CaptureVerb.LazyOption.Length || arg[Verbs.CaptureVerb.LazyOption.Length] is '=' or ':');

    /// <summary>Starts the worker; returns the exit code once it lets go, or has ended.</summary>
    public static int Run()
    {
        using var interruption = new Interruption();
        Descriptors.KeepFromChildren(); // a lock or a pipe of the script's must not be held by what goes on behind its back
        var (read, write) = Spawn.Pipe();
        using var report = read;
        int worker;
        using (write)
        {
            Environment.SetEnvironmentVariable(WorkerVariable, "1");
            worker = Spawn.Start("/proc/self/exe", CommandLine(), new[] { (write, ReportFd) }, newSession: true);
        }

        var interrupted = false;
        interruption.TakeOver(_ =>
        {
            interrupted = true;
            Signals.TryKill(worker, Signals.SIGTERM); // it is our child until we reap it
        });
        Span<byte> word = stackalloc byte[1];
        if (RawFile.Read(report, word) == 1) return (int)ExitCode.Ok;
        var death = ChildWait.AwaitDeath(worker);
        if (!death.Killed) return death.Status;
        if (interrupted)
        {
            CommandContext.Tell("interrupted"); // before it listened to signals itself, or twice
            return (int)ExitCode.Interrupted;
        }

        CommandContext.Tell($"the process that captures was killed by signal {death.Status}; nothing was committed");
        return (int)ExitCode.Environment;
    }

    // As we were started, the runtime's own part included.
    private static string[] CommandLine() => File.ReadAllText("/proc/self/cmdline").Split('\0')[..^1]; // each ends with a NUL, an empty one too
}

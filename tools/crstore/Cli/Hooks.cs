using System.Diagnostics;
using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;

namespace Crstore.Cli;

/// <summary>
/// Scripts of the user's around a capture or restart: the executables in /etc/crstore/hooks.d in the order of their names, then those of `--hook`.
/// Each is called with the stage as its argument and CRSTORE_STAGE, CRSTORE_STORE, CRSTORE_SERIES, CRSTORE_CRID, CRSTORE_PIDS and, afterwards,
/// CRSTORE_RESULT (ok or failed) in its environment; its output goes to standard error. One that fails before the work stops it; after it, that is a warning.
/// </summary>
internal sealed class Hooks
{
    /// <summary>Where an administrator puts them; CRSTORE_HOOKS_DIR names another place.</summary>
    public const string DefaultDirectory = "/etc/crstore/hooks.d";

    private const uint WritableByOthers = 0x12; // S_IWGRP | S_IWOTH, inode(7)
    private const UnixFileMode Executable = UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private readonly IReadOnlyList<string> scripts;
    private readonly CancellationToken cancel;

    /// <summary>Finds them.</summary>
    /// <exception cref="UsageException">A script of the command line is not there, or may not be executed.</exception>
    public Hooks(IReadOnlyList<string> given, CancellationToken cancel)
    {
        this.cancel = cancel;
        var directory = Environment.GetEnvironmentVariable("CRSTORE_HOOKS_DIR") ?? DefaultDirectory;
        var found = Directory.Exists(directory) ? Directory.GetFiles(directory).Where(IsExecutable).Order(StringComparer.Ordinal).ToArray() : [];
        foreach (var script in given)
            if (!File.Exists(script) || !IsExecutable(script)) throw new UsageException($"--hook {script} is no executable file");
        scripts = [.. found, .. given.Select(Path.GetFullPath)];
    }

    /// <summary>There is one at least.</summary>
    public bool Any => scripts.Count > 0;

    /// <summary>What they are told.</summary>
    public Dictionary<string, string> Facts { get; } = [];

    /// <summary>Sets the process ids that they are told.</summary>
    public void SetPids(IEnumerable<int> pids) => Facts["CRSTORE_PIDS"] = string.Join(' ', pids.Select(p => p.ToString(CultureInfo.InvariantCulture)));

    /// <summary>Does the work between the two stages. Those afterwards run if any of those before was begun, whatever came of the work.</summary>
    /// <param name="name">"capture" or "restart": the stages are pre-NAME and post-NAME.</param>
    /// <param name="work">The work.</param>
    public void Around(string name, Action work)
    {
        var result = "failed";
        try
        {
            foreach (var script in scripts)
                if (Call(script, $"pre-{name}") is { } failure) throw new EnvironmentException(failure, $"nothing was done; a hook that fails stops the {name}");
            work();
            result = "ok";
        }
        finally
        {
            Facts["CRSTORE_RESULT"] = result;
            foreach (var script in scripts)
                if (Call(script, $"post-{name}") is { } failure) CommandContext.Warn(failure);
        }
    }

    // Null, or what went wrong.
    private string? Call(string script, string stage)
    {
        if (FileStatus.TryOf(script, out var status) is var errno and not 0) return $"the hook {script} is gone: {Errno.Describe(errno)}";
        if ((status.Mode & WritableByOthers) != 0 || (status.Uid != 0 && status.Uid != ThisProcess.EffectiveUser()))
            return $"the hook {script} can be changed by others: it is not run";
        // What they print goes where messages go: standard output is the verb's, or the restarted program's.
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$0\" \"$@\" >&2", script, stage]);
        start.Environment["CRSTORE_STAGE"] = stage;
        foreach (var (key, value) in Facts) start.Environment[key] = value;
        try
        {
            using var process = Process.Start(start)!;
            try
            {
                process.WaitForExitAsync(stage.StartsWith("pre-", StringComparison.Ordinal) ? cancel : CancellationToken.None).GetAwaiter().GetResult();
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                throw;
            }

            return process.ExitCode == 0 ? null : $"the hook {script} {stage} failed with exit code {process.ExitCode}";
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return $"the hook {script} can't be started: {e.Message}";
        }
    }

    private static bool IsExecutable(string path) => (File.GetUnixFileMode(path) & Executable) != 0;
}

using System.Diagnostics;
using System.Text.Json;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>The program as a user has it: published by tools/build.sh, run as a process of its own.</summary>
internal static class CrstoreProgram
{
    private static readonly Lazy<string> Published = new(() =>
        Run.Command(Repository.Path("tools", "build.sh"), [], timeout: TimeSpan.FromMinutes(30)).MustSucceed().Output.Trim());

    /// <summary>Full path of the executable.</summary>
    public static string Path => Published.Value;

    /// <summary>Runs it without a store of its own.</summary>
    public static CommandResult Start(params string[] arguments) => Run.Command(Path, arguments, environment: Clean);

    /// <summary>Nothing from the environment of whoever runs the tests.</summary>
    public static Dictionary<string, string?> Clean => new() { ["CRSTORE_STORE"] = null, ["CRSTORE_DEBUG"] = null, ["XDG_STATE_HOME"] = null };
}

/// <summary>A store in a directory of its own, and the program run on it.</summary>
internal sealed class CliStore : IDisposable
{
    private readonly TempDir _directory = new("crstore-cli-");

    /// <summary>The store's directory; it does not exist before the first capture.</summary>
    public string Path => _directory.File("store");

    /// <summary>A path beside the store.</summary>
    public string File(string name) => _directory.File(name);

    /// <summary>Runs a verb on this store.</summary>
    public CommandResult Run(params string[] arguments) => RunWith(null, arguments);

    /// <summary>The same with changes to the environment.</summary>
    public CommandResult RunWith(IReadOnlyDictionary<string, string?>? changes, params string[] arguments)
    {
        var environment = CrstoreProgram.Clean;
        environment["CRSTORE_STORE"] = Path;
        foreach (var (name, value) in changes ?? new Dictionary<string, string?>()) environment[name] = value;
        return Support.Run.Command(CrstoreProgram.Path, arguments, environment: environment);
    }

    /// <summary>Starts a verb and lets it run; its output is there to be read.</summary>
    public Process Begin(params string[] arguments)
    {
        var info = new ProcessStartInfo(CrstoreProgram.Path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in CrstoreProgram.Clean) info.Environment[name] = value;
        info.Environment["CRSTORE_STORE"] = Path;
        return Process.Start(info)!;
    }

    /// <summary>Runs a verb that must succeed; returns its output without the last newline.</summary>
    public string Do(params string[] arguments) => Run(arguments).MustSucceed().Output.TrimEnd('\n');

    /// <summary>Runs a verb with --json that must succeed; returns what it printed.</summary>
    public JsonElement Json(params string[] arguments) => JsonDocument.Parse(Do([.. arguments, "--json"])).RootElement;

    /// <summary>Captures; returns the CRID.</summary>
    public string Capture(int pid, params string[] options) => Do(["capture", $"{pid}", "--quiet", .. options]);

    /// <inheritdoc/>
    public void Dispose() => _directory.Dispose();
}

/// <summary>What to expect of a command that fails.</summary>
internal static class Expect
{
    /// <summary>That exit code, nothing on stdout, a sentence on stderr that begins with the program's name and holds the words.</summary>
    public static void Failure(CommandResult result, ExitCode code, params string[] words)
    {
        Assert.True(result.ExitCode == (int)code, $"expected exit code {(int)code}: {result}");
        Assert.Equal("", result.Output);
        Assert.StartsWith("crstore: ", result.Error);
        foreach (var word in words) Assert.Contains(word, result.Error);
        // No stack, no type names.
        Assert.DoesNotContain("   at ", result.Error);
        Assert.DoesNotContain("Exception", result.Error);
    }
}

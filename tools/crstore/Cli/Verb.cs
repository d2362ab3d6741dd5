using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>An example for `--help` and the man page.</summary>
/// <param name="CommandLine">What to type, without "crstore ".</param>
/// <param name="Meaning">What it does.</param>
internal readonly record struct Example(string CommandLine, string Meaning);

/// <summary>A verb of the command line: options, examples, exit codes, and what it does.</summary>
internal abstract class Verb : Command
{
    /// <summary>Creates the command; derived constructors add arguments and options.</summary>
    protected Verb(string name, string description, CommandContext context) : base(name, description)
    {
        Context = context;
        SetAction(parsed => (int)Run(parsed));
    }

    /// <summary>Two or three examples.</summary>
    public abstract IReadOnlyList<Example> Examples { get; }

    /// <summary>Exit codes besides those that every verb has (0, 1, 2, 6, 130).</summary>
    public virtual IReadOnlyList<ExitCode> ExitCodes => [];

    /// <summary>Streams, cancellation, start.</summary>
    protected CommandContext Context { get; }

    /// <summary>Does it.</summary>
    protected abstract ExitCode Run(ParseResult parsed);

    /// <summary>The `--lock-timeout` option of the verbs that write, or look at a process that a capture may have.</summary>
    protected Option<TimeSpan?> AddLockTimeout()
    {
        var timeout = new Option<TimeSpan?>("--lock-timeout")
        {
            HelpName = "SECONDS",
            Description = "How long to wait for another crstore that has the store, the series or the process; default: 60",
            CustomParser = Quantities.Parser(Quantities.Duration, "a time such as 30 or 500ms"),
        };
        Options.Add(timeout);
        return timeout;
    }

    /// <summary>How to open the store, with that option.</summary>
    protected StoreOptions StoreOptionsOf(ParseResult parsed, Option<TimeSpan?> lockTimeout)
    {
        var options = Context.OptionsOf(parsed);
        return parsed.GetValue(lockTimeout) is { } timeout ? options with { LockTimeout = timeout } : options;
    }

    /// <summary>The `--json` option of the verbs that print.</summary>
    protected Option<bool> AddJson()
    {
        var json = new Option<bool>("--json") { Description = "Print JSON: stable names, one object or one array" };
        Options.Add(json);
        return json;
    }
}

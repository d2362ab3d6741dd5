using System.CommandLine;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Pending;

namespace Crstore.Cli.Verbs;

/// <summary>`wait`: until a checkpoint of `capture --lazy` is committed.</summary>
internal sealed class WaitVerb : Verb
{
    private readonly Argument<string> _crid = new("CRID") { Description = "CRID that `capture --lazy` printed" };
    private readonly Option<TimeSpan?> _timeout = new("--timeout")
    {
        HelpName = "SECONDS",
        Description = "Give up after so long; default: never. The checkpoint is written back all the same",
        CustomParser = Quantities.Parser(Quantities.Duration, "a time such as 30 or 500ms"),
    };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public WaitVerb(CommandContext context)
        : base("wait", "Wait until a checkpoint of `capture --lazy` is committed; if that failed, tell why and exit with its code.", context)
    {
        Arguments.Add(_crid);
        Options.Add(_timeout);
        Options.Add(_quiet);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("wait 17", "returns once CRID 17 is committed, and durable"),
        new("wait 17 --timeout 0 --json", "how it stands now, for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target, ExitCode.Damaged, ExitCode.Busy, ExitCode.FrozenTooLong];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        if (!Crid.TryParse(parsed.GetRequiredValue(_crid), out var crid)) throw new UsageException($"'{parsed.GetValue(_crid)}' is not a CRID", "give the number that `capture --lazy` printed");
        using var store = Context.OpenStore(parsed);
        var status = Await(store, crid, parsed.GetValue(_timeout), quiet: parsed.GetValue(_quiet) || parsed.GetValue(_json))
            ?? throw new UsageException($"nothing is known of CRID {crid} in {store.Directory}", "`crstore list` shows what is committed; what became of a lazy capture is kept for a week at least");
        if (parsed.GetValue(_json)) Print(crid, status);
        switch (status.State)
        {
            case CapturedState.Committed:
                if (!parsed.GetValue(_json) && !parsed.GetValue(_quiet)) Context.Out.WriteLine($"CRID {crid} is committed");
                return ExitCode.Ok;
            case CapturedState.Writing:
                throw new StoreBusyException($"CRID {crid} is not committed yet (pid {status.Pid})", "it is written back all the same; wait for longer with --timeout");
            case CapturedState.InMemory:
                throw new StoreBusyException($"CRID {crid} is kept in memory only", $"`crstore commit {crid}` makes it durable, `crstore discard {crid}` lets it go");
            case CapturedState.Died:
                throw new EnvironmentException($"CRID {crid} was not committed: the process that wrote it back (pid {status.Pid}) was killed", "capture again: the next one reads everything");
            default:
                CommandContext.Tell($"CRID {crid} was not committed: {status.Reason}");
                if (status.Hint is { } hint) CommandContext.Hint(hint);
                return status.ExitCode;
        }
    }

    // As it stands once its session is over, or the time is.
    private CapturedStatus? Await(CheckpointStore store, Crid crid, TimeSpan? timeout, bool quiet)
    {
        var status = store.StatusOf(crid);
        if (status?.State != CapturedState.Writing) return status;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Context.Cancel);
        if (timeout is { } time) limit.CancelAfter(time);
        try
        {
            using var progress = ProgressDisplay.Start($"writing back CRID {crid}", quiet: quiet);
            store.AwaitSession(crid, limit.Token);
        }
        catch (OperationCanceledException) when (!Context.Cancel.IsCancellationRequested)
        {
            return status;
        }

        return store.StatusOf(crid);
    }

    private void Print(Crid crid, CapturedStatus status) => JsonOutput.Object(Context, json =>
    {
        json.WriteNumber("crid", crid.Value);
        json.WriteString("state", status.State switch
        {
            CapturedState.Committed => "committed",
            CapturedState.Writing => "writing",
            CapturedState.Died => "died",
            CapturedState.InMemory => "in memory",
            _ => "failed",
        });
        if (status.Pid == 0) json.WriteNull("pid");
        else json.WriteNumber("pid", status.Pid);
        json.WriteString("reason", status.Reason);
    });
}

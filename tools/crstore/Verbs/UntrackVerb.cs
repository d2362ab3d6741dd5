using System.CommandLine;
using Crstore.Capture;
using Crstore.Model;

namespace Crstore.Cli.Verbs;

/// <summary>`untrack`: takes the parked userfaultfd out of a target.</summary>
internal sealed class UntrackVerb : Verb
{
    private readonly Argument<int?> _pid = new("PID")
    {
        CustomParser = Quantities.Parser(Quantities.Pid, "a process id"),
        Arity = ArgumentArity.ExactlyOne,
        Description = "Process that has been captured with tracker uffd",
    };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public UntrackVerb(CommandContext context)
        : base("untrack", "Take crstore's write tracking out of a process; its next capture reads everything.", context)
    {
        Arguments.Add(_pid);
        Options.Add(_quiet);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples => [new("untrack 1234", "process 1234 is to be captured no more, and goes on")];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target, ExitCode.Busy, ExitCode.FrozenTooLong];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var target = TargetFinder.ByPid(parsed.GetValue(_pid)!.Value);
        var result = Untracking.Run(target.Pid, Context.LockWait(parsed.GetValue(_lockTimeout)));
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json =>
            {
                json.WriteNumber("pid", target.Pid);
                json.WriteStartArray("closed_fds");
                foreach (var fd in result.ClosedFds) json.WriteNumberValue(fd);
                json.WriteEndArray();
                json.WriteNumber("frozen_ns", result.Frozen.Ticks * TimeSpan.NanosecondsPerTick);
            });
        }
        else if (!parsed.GetValue(_quiet))
        {
            var frozen = Units.Milliseconds((ulong)(result.Frozen.Ticks * TimeSpan.NanosecondsPerTick));
            Context.Out.WriteLine(Printable.Of(result.ClosedFds.Count == 0
                ? $"process {target.Pid} ({target.Comm}) holds nothing of crstore"
                : $"process {target.Pid} ({target.Comm}): closed fd {string.Join(", ", result.ClosedFds)}, frozen {frozen} ms"));
        }
        return ExitCode.Ok;
    }
}

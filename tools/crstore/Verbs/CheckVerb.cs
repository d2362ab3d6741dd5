using System.CommandLine;
using Crstore.Capture;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects;
using Crstore.Objects.Files;
using Crstore.Store.InMemory;

namespace Crstore.Cli.Verbs;

/// <summary>`check`: what of a process, or of a checkpoint, a restart would bring back.</summary>
internal sealed class CheckVerb : Verb
{
    private readonly Argument<string?> _what = new("PID|CRID")
    {
        Arity = ArgumentArity.ZeroOrOne,
        Description = "A running process; or a CRID, or SERIES[@latest|@N|@TIME]. A number that is both has to be said with --pid or --crid",
    };
    private readonly Option<int?> _pid = new("--pid") { HelpName = "PID", Description = "A running process", CustomParser = Quantities.Parser(Quantities.Pid, "a process id") };
    private readonly Option<string?> _crid = new("--crid") { HelpName = "CRID", Description = "A checkpoint" };
    private readonly Option<bool> _tree = new("--tree") { Description = "Of a process: all its descendants too" };
    private readonly Option<bool> _all = new("--all", "-a") { Description = "Also what simply restarts: every mapping, thread, timer, namespace and open file" };
    private readonly Option<bool> _objects = new("--objects") { Description = "List all kinds of objects, and what becomes of each" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public CheckVerb(CommandContext context) : base("check", "Say what a restart would bring back of a process or a checkpoint, object by object.", context)
    {
        Arguments.Add(_what);
        foreach (var option in new Option[] { _pid, _crid, _tree, _all, _objects }) Options.Add(option);
        StoreWords.Complete(_what, series: true);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("check --pid 1234 --tree", "before a capture: would this process and its children restart?"),
        new("check redis@latest", "after it: does everything that the checkpoint refers to still exist?"),
        new("check --objects", "what restarts at all"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target, ExitCode.Damaged, ExitCode.Busy, ExitCode.FrozenTooLong];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        if (parsed.GetValue(_objects))
        {
            ListObjects(parsed.GetValue(_json));
            return ExitCode.Ok;
        }

        var body = Find(parsed, out var name);
        List<ObjectVerdict> verdicts;
        using (var scene = new RestartScene(body) { JustCaptured = body.Crid == 0 }) verdicts = Verdicts.Of(scene, parsed.GetValue(_all));
        var restartable = verdicts.TrueForAll(v => v.Verdict.Outcome != Restartability.Refused);
        var shown = verdicts.Where(v => parsed.GetValue(_all) || v.Verdict is not { Outcome: Restartability.Restarts, Why: "" }).ToList();
        if (parsed.GetValue(_json)) WriteJson(name, restartable, shown);
        else WriteText(name, restartable, shown, verdicts.Count - shown.Count);
        return restartable ? ExitCode.Ok : ExitCode.Target;
    }

    private void ListObjects(bool asJson)
    {
        if (asJson)
        {
            JsonOutput.Object(Context, json => json.Objects("objects", Verdicts.Coverage(), static (writer, kind) =>
            {
                writer.WriteString("kind", kind.Name);
                writer.WriteString("restarts", kind.Coverage.Restarts);
                writer.WriteString("policy", kind.Coverage.Policy);
                writer.WriteString("refused", kind.Coverage.Refused);
            }));
            return;
        }

        foreach (var (name, coverage) in Verdicts.Coverage())
        {
            Context.Out.WriteLine(name);
            if (coverage.Restarts.Length > 0) Context.Out.WriteLine($"  restarts: {coverage.Restarts}");
            if (coverage.Policy.Length > 0) Context.Out.WriteLine($"  by policy: {coverage.Policy}");
            if (coverage.Refused.Length > 0) Context.Out.WriteLine($"  refused: {coverage.Refused}");
        }
    }

    private CheckpointBody Find(ParseResult parsed, out string name)
    {
        var (what, pid, crid) = (parsed.GetValue(_what), parsed.GetValue(_pid), parsed.GetValue(_crid));
        if (new object?[] { what, pid, crid }.Count(o => o is not null) != 1)
            throw new UsageException("say what to check: one process or one checkpoint", "for instance `crstore check --pid 1234` or `crstore check redis@latest`");
        if (what is not null)
        {
            // A number may be either. Who can only be one of them is meant.
            var number = Quantities.Pid(what);
            var process = number is { } n && Directory.Exists($"/proc/{n}");
            if (process && HasCheckpoint(parsed, what))
                throw new UsageException($"{what} is a process and a checkpoint", $"say --pid {what} or --crid {what}");
            pid = process ? number : null;
            crid = process ? null : what;
        }

        if (pid is { } target)
        {
            var sketch = TargetFinder.ByPid(target);
            name = $"process {sketch.Pid} ({sketch.Comm})";
            return StatePreview.Read(sketch.Pid, parsed.GetValue(_tree), Context.LockWait(parsed.GetValue(_lockTimeout)));
        }

        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        using var image = reader.OpenImage(Resolve(reader, crid!, mayBePid: what is not null));
        name = $"CRID {image.Manifest.Crid} ({image.Manifest.Header.Command})";
        return image.Manifest.Body;
    }

    private static Crid Resolve(StoreView reader, string crid, bool mayBePid)
    {
        try
        {
            return reader.Resolve(crid);
        }
        catch (UsageException none) when (mayBePid && Quantities.Pid(crid) is { } pid)
        {
            throw new UsageException($"there is no process {pid}, and {none.Message}", none.Hint);
        }
    }

    private bool HasCheckpoint(ParseResult parsed, string crid)
    {
        try
        {
            using var store = Context.OpenStore(parsed);
            using var reader = store.OpenView();
            reader.Resolve(crid);
            return true;
        }
        catch (CrstoreException)
        {
            return false; // no store, or no such checkpoint
        }
    }

    private void WriteText(string name, bool restartable, List<ObjectVerdict> shown, int silent)
    {
        Context.Out.WriteLine(Printable.Of($"{name}: {(restartable ? "restarts" : "can't be restarted")}"));
        if (shown.Count > 0)
        {
            var table = new TextTable("kind", "object", "verdict", "why");
            foreach (var v in shown) table.Add(v.Kind, v.Object, Word(v.Verdict), v.Verdict.Why);
            table.Write(Context.Out);
        }

        if (silent > 0) Context.Out.WriteLine($"{Units.Count((ulong)silent, "open file")} besides {(silent == 1 ? "restarts" : "restart")} as {(silent == 1 ? "it was" : "they were")}");
    }

    private void WriteJson(string name, bool restartable, List<ObjectVerdict> shown) => JsonOutput.Object(Context, json =>
    {
        json.WriteString("of", name);
        json.WriteBoolean("restartable", restartable);
        json.Objects("objects", shown, static (writer, v) =>
        {
            writer.WriteString("kind", v.Kind);
            writer.WriteString("object", v.Object);
            writer.WriteString("verdict", v.Verdict.Outcome switch { Restartability.Restarts => "restarts", Restartability.WithPolicy => "policy", _ => "refused" });
            writer.WriteString("flag", v.Verdict.Flag.Length > 0 ? v.Verdict.Flag : null);
            writer.WriteString("why", v.Verdict.Why.Length > 0 ? v.Verdict.Why : null);
        });
    });

    private static string Word(Verdict verdict) => verdict.Outcome switch
    {
        Restartability.Restarts => "restarts",
        Restartability.WithPolicy => verdict.Flag,
        _ => "refused",
    };
}

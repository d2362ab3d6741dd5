using System.CommandLine;
using Crstore.Capture;
using Crstore.Model;

namespace Crstore.Cli.Verbs;

/// <summary>`doctor`: what works here, by trial.</summary>
internal sealed class DoctorVerb : Verb
{
    private readonly Argument<int?> _pid = new("PID")
    {
        CustomParser = Quantities.Parser(Quantities.Pid, "a process id"),
        Arity = ArgumentArity.ZeroOrOne,
        Description = "Say for this process which tracker would be used and what could not be captured",
    };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public DoctorVerb(CommandContext context)
        : base("doctor", "Show what works here, by trial; for a PID, how it would be captured.", context)
    {
        Arguments.Add(_pid);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("doctor", "this machine and this user"),
        new("doctor 1234", "how process 1234 would be captured"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var pid = parsed.GetValue(_pid);
        var target = pid is null ? null : TargetFinder.ByPid(pid.Value);
        var preview = target is null ? null : CapturePreview.Of(target.Pid);
        var checks = HostChecks.All(() => StoreLocation.Of(parsed)).ToList();
        if (parsed.GetValue(_json)) WriteJson(checks, target, preview);
        else WriteText(checks, target, preview);
        return ExitCode.Ok;
    }

    private void WriteText(List<HostCheck> checks, ProcessSketch? target, CapturePreview? preview)
    {
        var table = new TextTable("check", "verdict", "detail");
        foreach (var check in checks) table.Add(check.Name, check.Verdict, check.Detail);
        table.Write(Context.Out);
        if (target is null || preview is null) return;

        Context.Out.WriteLine();
        Context.Out.WriteLine(Printable.Of($"process {target.Pid} ({target.Comm})"));
        Context.Out.WriteLine(Printable.Of($"  tracker: {Units.Name(preview.Tracker)}, {(preview.Reason.Length > 0 ? preview.Reason : "the best there is")}"));
        if (preview.Parked) Context.Out.WriteLine("  tracked already: crstore's userfaultfd is in it (`crstore untrack` takes it out)");
    }

    private void WriteJson(List<HostCheck> checks, ProcessSketch? target, CapturePreview? preview) => JsonOutput.Object(Context, json =>
    {
        json.Objects("checks", checks, static (writer, check) =>
        {
            writer.WriteString("name", check.Name);
            writer.WriteString("verdict", check.Verdict);
            writer.WriteString("detail", check.Detail);
        });
        if (target is null || preview is null) return;
        json.WriteStartObject("target");
        json.WriteNumber("pid", target.Pid);
        json.WriteString("command", target.Comm);
        json.WriteString("tracker", Units.Name(preview.Tracker));
        json.WriteString("reason", preview.Reason);
        json.WriteBoolean("tracked_already", preview.Parked);
        json.WriteEndObject();
    });
}

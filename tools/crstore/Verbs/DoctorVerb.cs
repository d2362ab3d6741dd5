using System.CommandLine;
using Crstore.Capture;
using Crstore.Capture.Doctor;
using Crstore.Capture.Freezing;
using Crstore.Linux.Files;
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
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public DoctorVerb(CommandContext context)
        : base("doctor", "Show what works here, by trial; for a PID, how it would be captured.", context)
    {
        Arguments.Add(_pid);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("doctor", "this machine and this user"),
        new("doctor 1234", "how process 1234 would be captured"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target, ExitCode.Busy];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        // First of all: without the process there is nothing to say of it.
        var target = parsed.GetValue(_pid) is { } pid ? TargetReport.Of(TargetFinder.ByPid(pid), Context.LockWait(parsed.GetValue(_lockTimeout))) : null;
        var checks = HostChecks.All(() => StoreLocation.Of(parsed)).ToList();
        if (parsed.GetValue(_json)) WriteJson(checks, target);
        else WriteText(checks, target);
        return target is { Capturable: false } ? ExitCode.Target : ExitCode.Ok;
    }

    private void WriteText(List<HostCheck> checks, TargetReport? target)
    {
        var table = new TextTable("check", "verdict", "detail");
        foreach (var check in checks) table.Add(check.Name, check.Verdict, check.Detail);
        table.Write(Context.Out);
        if (target is null) return;

        Context.Out.WriteLine();
        Line($"process {target.Process.Pid} ({target.Process.Comm})");
        if (target.Preview is { } preview)
        {
            Line($"  tracker: {Units.Name(preview.Tracker)}, {(preview.Reason.Length > 0 ? preview.Reason : "the best there is")}");
            if (preview.Parked) Line("  tracked already: crstore's userfaultfd is in it (`crstore untrack` takes it out)");
        }
        Line(!target.Capturable ? "  it cannot be captured:" : target.Gaps.Count == 0 ? "  nothing would be missing" : "  would be missing:");
        foreach (var gap in target.Gaps)
        {
            Line(gap.Why.StartsWith(gap.What, StringComparison.Ordinal) ? $"    {gap.Why}" : $"    {gap.What}: {gap.Why}");
            if (gap.Hint is { } hint) Line($"      {hint}");
        }
    }

    private void Line(string text) => Context.Out.WriteLine(Printable.Of(text));

    private void WriteJson(List<HostCheck> checks, TargetReport? target) => JsonOutput.Object(Context, json =>
    {
        json.Objects("checks", checks, static (writer, check) =>
        {
            writer.WriteString("name", check.Name);
            writer.WriteString("verdict", check.Verdict);
            writer.WriteString("detail", check.Detail);
        });
        if (target is null) return;
        json.WriteStartObject("target");
        json.WriteNumber("pid", target.Process.Pid);
        json.WriteString("command", target.Process.Comm);
        json.WriteBoolean("capturable", target.Capturable);
        json.WriteString("tracker", target.Preview is { } preview ? Units.Name(preview.Tracker) : null);
        json.WriteString("reason", target.Preview?.Reason);
        json.WriteBoolean("tracked_already", target.Preview?.Parked ?? false);
        json.Objects("gaps", target.Gaps, static (writer, gap) =>
        {
            writer.WriteString("what", gap.What);
            writer.WriteString("why", gap.Why);
            writer.WriteString("hint", gap.Hint);
            writer.WriteBoolean("fatal", gap.Fatal);
        });
        json.WriteEndObject();
    });

    /// <summary>What can be said of one process.</summary>
    private sealed record TargetReport(ProcessSketch Process, CapturePreview? Preview, IReadOnlyList<CaptureGap> Gaps)
    {
        public bool Capturable => Preview is not null && !Gaps.Any(gap => gap.Fatal);

        public static TargetReport Of(ProcessSketch process, LockWait wait)
        {
            try
            {
                var preview = CapturePreview.Of(process.Pid, wait);
                return new TargetReport(process, preview, CaptureGaps.Find(process.Pid, preview.Parked ? 1 : 0));
            }
            catch (TargetException refusal)
            {
                return new TargetReport(process, null, [new CaptureGap(TargetErrors.Name(process.Pid), refusal.Message, refusal.Hint, Fatal: true)]);
            }
        }
    }
}

using System.CommandLine;
using Crstore.Capture;
using Crstore.Cli.Watching;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`watch`: checkpoints of a live process again and again, from one process that stays ready for the next.</summary>
internal sealed class WatchVerb : Verb
{
    private readonly CaptureOptionSet _how = new();
    private readonly Option<TimeSpan?> _every = new("--every")
    {
        HelpName = "DURATION",
        Description = "Capture at this interval (100ms, 5s, 10m); what passes while a longer capture goes on is left out. Where captures take more than a tenth of the time, they leave one processor alone",
        CustomParser = Quantities.Parser(Quantities.Duration, "a time such as 100ms, 5s or 10m"),
    };
    private readonly Option<long?> _onDirty = new("--on-dirty")
    {
        HelpName = "SIZE",
        Description = "Capture as soon as about so much private memory has changed (64M), asked from outside without stopping anything; with --every at this interval at the latest. Needs the uffd or soft-dirty tracker",
        CustomParser = Quantities.Parser(Quantities.Size, "a size such as 64M"),
    };
    private readonly Option<bool> _onSignal = new("--on-signal")
    {
        Description = "Capture at SIGUSR1 (kill -USR1 of the watch), and once at the beginning; one that comes during a capture is followed by another. It is made with all processors, as by `capture`. May be given alone",
    };
    private readonly Option<double?> _maxOverhead = new("--max-overhead")
    {
        HelpName = "PERCENT",
        Description = "Capture less often than asked for where captures would cost the target more than this share of the time. Counted: the time it is frozen, " +
            "and a microsecond for each page found dirty (the fault of the next write to it). Not counted: what crstore takes of processors and disk besides",
        CustomParser = Quantities.Parser(Quantities.Percent, "a share such as 3%"),
    };
    private readonly Option<int?> _keepLast = new("--keep-last")
    {
        HelpName = "N",
        Description = "After each capture forget all of the series but the last N, whoever took them; `gc` frees their space",
        CustomParser = Quantities.Parser(Quantities.Count, "a number of checkpoints"),
    };
    private readonly Option<TimeSpan?> _for = new("--for")
    {
        HelpName = "DURATION",
        Description = "End after this time; default: when the target ends, or at SIGTERM or SIGINT",
        CustomParser = Quantities.Parser(Quantities.Duration, "a time such as 30s or 2h"),
    };
    private readonly Option<int?> _count = new("--count")
    {
        HelpName = "N",
        Description = "End after N captures",
        CustomParser = Quantities.Parser(Quantities.Count, "a number of captures"),
    };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print the CRIDs alone" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json = new("--json") { Description = "Print JSON: an object a line, of event capture or failure, and of event end at last" };

    /// <summary>Creates the verb.</summary>
    public WatchVerb(CommandContext context) : base("watch",
        "Take checkpoints of a live process again and again, until it ends, or SIGTERM or SIGINT: the capture that is under way is completed then, and the exit code is 0. " +
        "A second signal abandons it.", context)
    {
        foreach (var option in new Option[] { _every, _onDirty, _onSignal, _maxOverhead, _count, _for, _keepLast }) Options.Add(option);
        _how.AddTo(this);
        Options.Add(_quiet);
        _lockTimeout = AddLockTimeout();
        Options.Add(_json);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("watch 1234 --every 100ms --for 1m", "every 100 ms, or as often as captures get done, for a minute"),
        new("watch --pidfile /run/redis.pid --series redis --every 5m --on-dirty 64M --max-overhead 1%", "a schedule without cron, sooner when much has changed"),
        new("watch --name sim --tree --on-signal --keep-last 60 --json", "whenever somebody asks (kill -USR1 of the watch), as lines for a program"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes =>
        [ExitCode.Target, ExitCode.Damaged, ExitCode.Busy, ExitCode.FrozenTooLong, ExitCode.TargetEnded];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var finish = Context.Interruption.FinishFirst();
        var plan = new WatchPlan
        {
            Every = parsed.GetValue(_every),
            OnDirtyBytes = parsed.GetValue(_onDirty),
            OnSignal = parsed.GetValue(_onSignal),
            MaxShare = parsed.GetValue(_maxOverhead) / 100,
            Count = parsed.GetValue(_count),
            For = parsed.GetValue(_for),
            KeepLast = parsed.GetValue(_keepLast),
        }.Checked();
        var target = _how.Target(parsed);
        var options = _how.Of(target, parsed, Context, parsed.GetValue(_lockTimeout));
        if (plan.OnDirtyBytes is not null) options = options with { LeaveHot = false }; // what is not protected always counts as changed
        if (plan is { Every: null, OnDirtyBytes: not null } && options.Tracker == TrackerKind.Hash)
            throw new UsageException("--on-dirty has nothing to go by with --tracker hash", "use another tracker, or --every");
        var hooks = _how.Hooks(parsed, Context.Cancel);
        // What is refused anyway makes no store and uses no CRID.
        Admission.CheckAccess(target.Pid);
        using var life = TargetLife.Of(target);
        if (!hooks.Any && options.Tcp != TcpPolicy.Wait) Admission.CheckState(options, Context.Cancel);

        var storeOptions = _how.With(StoreOptionsOf(parsed, _lockTimeout), parsed);
        using var store = CheckpointStore.OpenOrCreate(storeOptions, out var created);
        if (created) CommandContext.Tell($"created store {storeOptions.Directory} (mode 0700)");
        var series = _how.Series(parsed) ?? DefaultSeries.Of(target, store);
        (hooks.Facts["CRSTORE_STORE"], hooks.Facts["CRSTORE_SERIES"]) = (storeOptions.Directory, series);
        hooks.SetPids([target.Pid]);
        var report = new WatchReport(Context, parsed.GetValue(_quiet), parsed.GetValue(_json));
        report.Begin(target, series);
        using var watch = new WatchLoop(plan, options, store, series, hooks, life, report, finish, Context.Cancel);
        return watch.Run();
    }
}

using System.CommandLine;
using System.Globalization;
using Crstore.Capture;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects;
using Crstore.Objects.Files;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`capture`: takes a checkpoint of a live process or tree.</summary>
internal sealed class CaptureVerb : Verb
{
    private const long SmallestBuffer = 1 << 20;

    private readonly Argument<int?> _pid = new("PID")
    {
        CustomParser = Quantities.Parser(Quantities.Pid, "a process id"),
        Arity = ArgumentArity.ZeroOrOne,
        Description = "Process to capture",
    };
    private readonly Option<string> _pidFile = new("--pidfile") { HelpName = "FILE", Description = "Read the PID from this file" };
    private readonly Option<string> _name = new("--name")
    {
        HelpName = "NAME",
        Description = "The one process whose command name, or base name of argv[0], is NAME",
    };
    private readonly Option<string> _series = new("--series")
    {
        HelpName = "SERIES",
        Description = "Series to continue or to start; default: command name, pid and start time (redis-server.1234.8765432); of a restarted process, the one that it had",
    };
    private readonly Option<string> _tracker = new("--tracker")
    {
        HelpName = "auto|soft-dirty|uffd|hash",
        Description = "What tells the changed pages; default: auto, the best that works here by trial",
        DefaultValueFactory = _ => "auto",
    };
    private readonly Option<bool> _tree = new("--tree") { Description = "All descendants too, in one consistent freeze, as one CRID" };
    private readonly Option<bool> _full = new("--full") { Description = "A base, even if the series has a checkpoint to build on" };
    private readonly Option<ExcludeRule[]> _exclude = new("--exclude")
    {
        HelpName = "RANGE|PATH",
        Description = "Leave memory out: 0xSTART-0xEND, START+SIZE, or the path or name of a mapping (* and ? fit any); repeatable",
        CustomParser = ExcludeParser.Parse,
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
        DefaultValueFactory = _ => [],
    };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _keepStopped = new("--keep-stopped") { Description = "Leave the target stopped (SIGSTOP) afterwards" };
    private readonly Option<bool> _embedFiles = new("--embed-files") { Description = "Save unmodified pages of mapped files too, for a machine without these files" };
    private readonly Option<bool> _withFiles = new("--with-files")
    {
        Description = "Save the content of open regular files too (64 MiB in all); a restart puts it back where it differs",
    };
    private readonly Option<bool> _dontDump = new("--dont-dump") { Description = "Leave out what the target marked with MADV_DONTDUMP" };
    private readonly Option<long?> _buffer = new("--buffer")
    {
        HelpName = "SIZE",
        Description = "Memory for pages copied in the freeze (suffixes K M G); default: a quarter of free memory",
        CustomParser = Quantities.Parser(Quantities.Size, "a size such as 256M"),
    };
    private readonly Option<string> _preCopy = new("--pre-copy")
    {
        HelpName = "auto|never|always",
        Description = "Save what is to be read from the running target, in rounds, and freeze it for what it wrote meanwhile only; default: auto, where uffd works and there is much to read (64 MiB for a base)",
        DefaultValueFactory = _ => "auto",
    };
    private readonly Option<int> _maxRounds = new("--max-rounds")
    {
        HelpName = "N",
        Description = "At most so many rounds of --pre-copy, each of which begins with a short freeze; default: 4",
        DefaultValueFactory = _ => 4,
    };
    private readonly Option<string> _tcp = new("--tcp")
    {
        HelpName = "refuse|close|wait[=SECONDS]",
        Description = "TCP connections, which can't be taken up again: the checkpoint can't be restarted (default), they come back as reset (unix ones to the outside " +
            "as closed), or the capture waits for a moment without any (30 s at most)",
        DefaultValueFactory = _ => "refuse",
    };
    private readonly Option<TimeSpan?> _maxFrozen = new("--max-frozen")
    {
        HelpName = "DURATION",
        Description = "Let the target go and give up past this time (500ms, 2s); default: 10s",
        CustomParser = Quantities.Parser(Quantities.Duration, "a time such as 500ms or 2s"),
    };
    private readonly Option<Compression?> _compression = new("--compression")
    {
        HelpName = "none|zstd:N",
        Description = "Compression of new frames; default: zstd:1",
        CustomParser = CompressionParser.Parse,
    };
    private readonly Option<bool> _requireRestartable = new("--require-restartable") { Description = "Save nothing unless `restart` could bring all of it back" };
    private readonly Option<string[]> _hook = new("--hook") { HelpName = "SCRIPT", Description = "Call it before and afterwards, as those in /etc/crstore/hooks.d; one that fails before stops it. Repeatable" };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print the CRID alone" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public CaptureVerb(CommandContext context) : base("capture", "Take a checkpoint of a live process; it goes on running.", context)
    {
        Arguments.Add(_pid);
        _tracker.AcceptOnlyFromAmong("auto", "soft-dirty", "uffd", "hash");
        _preCopy.AcceptOnlyFromAmong("auto", "never", "always");
        foreach (var option in new Option[] { _pidFile, _name, _series, _tracker, _tree, _full, _exclude, _keepStopped,
             _embedFiles, _withFiles, _dontDump, _buffer, _preCopy, _maxRounds, _tcp, _maxFrozen, _compression, _requireRestartable, _hook, _quiet })
        {
            Options.Add(option);
        }
        _tcp.CompletionSources.Add(static _ => ["refuse", "close", "wait"]);
        StoreWords.CompleteSeries(_series);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("capture 1234", "a base at first, an increment each next time"),
        new("capture --pidfile /run/redis.pid --series redis", "for cron: no daemon is needed"),
        new("capture --name postgres --tree --exclude /dev/shm/scratch --json", "a whole tree, without a scratch file, for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes =>
        [ExitCode.Target, ExitCode.Damaged, ExitCode.Busy, ExitCode.FrozenTooLong];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var quiet = parsed.GetValue(_quiet);
        var target = TargetFinder.Find(parsed.GetValue(_pid), parsed.GetValue(_pidFile), parsed.GetValue(_name));
        var options = OptionsFor(target, parsed);
        var hooks = new Hooks(parsed.GetValue(_hook) ?? [], Context.Cancel);
        // What is refused anyway makes no store and uses no CRID.
        Admission.CheckAccess(target.Pid);
        if (!hooks.Any) options = Admission.CheckState(options, Context.Cancel);

        var storeOptions = StoreOptionsOf(parsed);
        using var store = CheckpointStore.OpenOrCreate(storeOptions, out var created);
        if (created) CommandContext.Tell($"created store {storeOptions.Directory} (mode 0700)");
        var series = parsed.GetValue(_series) ?? DefaultSeries.Of(target, store);
        using var progress = ProgressDisplay.Start("capturing", quiet: quiet || parsed.GetValue(_json));
        (hooks.Facts["CRSTORE_STORE"], hooks.Facts["CRSTORE_SERIES"]) = (storeOptions.Directory, series);
        hooks.SetPids([target.Pid]);
        CheckpointManifest? manifest = null;
        using (var writer = store.BeginCapture(series, parsed.GetValue(_full)))
        {
            hooks.Facts["CRSTORE_CRID"] = $"{writer.Crid}";
            hooks.Around("capture", () => manifest = CaptureSession.Run(options, writer, progress, Context.Cancel));
        }

        progress.Dispose();

        foreach (var warning in manifest!.Body.Warnings) CommandContext.Warn(warning);
        if (!quiet) TellObstacles(manifest);
        Print(manifest, quiet, parsed.GetValue(_json));
        return ExitCode.Ok;
    }

    private static void TellObstacles(CheckpointManifest manifest)
    {
        using var scene = new RestartScene(manifest.Body) { JustCaptured = true };
        if (Verdicts.Obstacles(scene) is not [var first, .. var rest]) return;
        CommandContext.Tell($"CRID {manifest.Crid} can't be restarted: {first}{(rest.Count == 0 ? "" : $", and {rest.Count} more (`crstore check --crid {manifest.Crid}`)")}");
    }

    private CaptureOptions OptionsFor(ProcessSketch target, ParseResult parsed)
    {
        var buffer = parsed.GetValue(_buffer);
        if (buffer < SmallestBuffer) throw new UsageException($"--buffer {buffer} is too small", "give 1M at least");
        var maxFrozen = parsed.GetValue(_maxFrozen) ?? TimeSpan.FromSeconds(10);
        var maxRounds = parsed.GetValue(_maxRounds);
        if (maxRounds <= 0) throw new UsageException("--max-rounds must be 1 at least", "--pre-copy never does without");
        if (maxFrozen <= TimeSpan.Zero) throw new UsageException("--max-frozen must be more than nothing", "give for instance 500ms");
        var (tcp, patience) = TcpOf(parsed.GetRequiredValue(_tcp));
        return new CaptureOptions
        {
            Pid = target.Pid,
            Tracker = parsed.GetValue(_tracker) switch
            {
                "soft-dirty" => TrackerKind.SoftDirty,
                "uffd" => TrackerKind.Uffd,
                "hash" => TrackerKind.Hash,
                _ => null,
            },
            Tree = parsed.GetValue(_tree),
            KeepStopped = parsed.GetValue(_keepStopped),
            EmbedFiles = parsed.GetValue(_embedFiles),
            WithFiles = parsed.GetValue(_withFiles),
            HonourDontDump = parsed.GetValue(_dontDump),
            Exclude = parsed.GetValue(_exclude) ?? [],
            BufferBytes = buffer,
            PreCopy = parsed.GetValue(_preCopy) switch
            {
                "never" => PreCopyPolicy.Never,
                "always" => PreCopyPolicy.Always,
                _ => PreCopyPolicy.Auto,
            },
            MaxRounds = maxRounds,
            Tcp = tcp,
            TcpPatience = patience,
            MaxFrozen = maxFrozen,
            RequireRestartable = parsed.GetValue(_requireRestartable),
            LockWait = Context.LockWait(parsed.GetValue(_lockTimeout)),
            StartedAt = Context.StartedAt,
        };
    }

    private static (TcpPolicy, TimeSpan) TcpOf(string word)
    {
        var usual = TimeSpan.FromSeconds(30);
        const string withTime = "wait=";
        if (word.StartsWith(withTime, StringComparison.Ordinal) && double.TryParse(word.AsSpan(withTime.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds)
            && seconds < TimeSpan.MaxValue.TotalSeconds)
            return (TcpPolicy.Wait, TimeSpan.FromSeconds(seconds));
        return word switch
        {
            "refuse" => (TcpPolicy.Refuse, usual),
            "close" => (TcpPolicy.Close, usual),
            "wait" => (TcpPolicy.Wait, usual),
            _ => throw new UsageException($"--tcp can't be '{word}'", "it is refuse, close, wait or wait=SECONDS"),
        };
    }

    private StoreOptions StoreOptionsOf(ParseResult parsed)
    {
        var options = StoreOptionsOf(parsed, _lockTimeout);
        if (parsed.GetValue(_compression) is { } compression) options = options with { Compression = compression };
        return options;
    }

    private void Print(CheckpointManifest manifest, bool quiet, bool json)
    {
        var header = manifest.Header;
        if (json)
        {
            JsonOutput.Object(Context, writer =>
            {
                CheckpointJson.Header(writer, header);
                writer.Strings("warnings", manifest.Body.Warnings);
            });
        }
        else if (quiet)
        {
            Context.Out.WriteLine(manifest.Crid);
        }
        else
        {
            var kind = header.ParentCrid == 0 ? "base" : $"increment of {header.ParentCrid}";
            Context.Out.WriteLine(Printable.Of($"{manifest.Crid}  {kind} in series {header.Series}, tracker {Units.Name(header.Tracker)}"));
            Context.Out.WriteLine($"frozen {Units.Milliseconds(header.FrozenNs)} ms, dirty {Units.Pages(header.Pages.Dirty)}, " +
                $"new {Units.Pages(header.Pages.Fresh)}, stored {Units.Bytes(header.BytesStored)}, " +
                $"total {Units.Milliseconds(header.TotalNs)} ms");
        }
    }
}

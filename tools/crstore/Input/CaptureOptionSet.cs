using System.CommandLine;
using System.Globalization;
using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>What `capture` and `watch` have in common: whom to capture, and how.</summary>
internal sealed class CaptureOptionSet
{
    private const long SmallestBuffer = 1 << 20;
    private const int DefaultNice = 10; // a tenth of a processor that somebody else wants, and all of one that nobody does

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
    private readonly Option<ExcludeRule[]> _exclude = new("--exclude")
    {
        HelpName = "RANGE|PATH",
        Description = "Leave memory out: 0xSTART-0xEND, START+SIZE, or the path or name of a mapping (* and ? fit any); repeatable",
        CustomParser = ExcludeParser.Parse,
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
        DefaultValueFactory = _ => [],
    };
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
    private readonly Option<string> _snapshot = new("--snapshot")
    {
        HelpName = "never|auto|always",
        Description = "Freeze the target for no longer than a fork would take, and read a copy-on-write snapshot of it while it runs; auto: where copying what is to be read would take longer; default: never",
        DefaultValueFactory = _ => "never",
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
    private readonly Option<int> _nice = new("--nice")
    {
        HelpName = "N",
        Description = "Nice value (0 to 19) of crstore's own threads while the target runs; its freeze and the commit are made with what crstore was started with, as is all of it with 0; default: 10",
        DefaultValueFactory = _ => DefaultNice,
    };
    private readonly Option<Compression?> _compression = new("--compression")
    {
        HelpName = "none|zstd:N",
        Description = "Compression of new frames; default: zstd, 1.4 times as fast as zstd:1 for a tenth more bytes",
        CustomParser = CompressionParser.Parse,
    };
    private readonly Option<bool> _requireRestartable = new("--require-restartable") { Description = "Save nothing unless `restart` could bring all of it back" };
    private readonly Option<string[]> _hook = new("--hook") { HelpName = "SCRIPT", Description = "Call it before and afterwards, as those in /etc/crstore/hooks.d; one that fails before stops it. Repeatable" };

    /// <summary>Adds all of them to a verb.</summary>
    public void AddTo(Command verb)
    {
        verb.Arguments.Add(_pid);
        _tracker.AcceptOnlyFromAmong("auto", "soft-dirty", "uffd", "hash");
        _preCopy.AcceptOnlyFromAmong("auto", "never", "always");
        _snapshot.AcceptOnlyFromAmong("never", "auto", "always");
        foreach (var option in new Option[] { _pidFile, _name, _series, _tracker, _tree, _exclude,
             _embedFiles, _withFiles, _dontDump, _buffer, _preCopy, _maxRounds, _snapshot, _tcp, _maxFrozen, _nice, _compression, _requireRestartable, _hook })
        {
            verb.Options.Add(option);
        }

        _tcp.CompletionSources.Add(static _ => ["refuse", "close", "wait"]);
        StoreWords.CompleteSeries(_series);
    }

    /// <summary>Whom.</summary>
    public ProcessSketch Target(ParseResult parsed) => TargetFinder.Find(parsed.GetValue(_pid), parsed.GetValue(_pidFile), parsed.GetValue(_name));

    /// <summary>The series that is named; null: <see cref="DefaultSeries"/>.</summary>
    public string? Series(ParseResult parsed) => parsed.GetValue(_series);

    /// <summary>What to call around each capture.</summary>
    public Hooks Hooks(ParseResult parsed, CancellationToken cancel) => new(parsed.GetValue(_hook) ?? [], cancel);

    /// <summary>The same with the compression that is asked for.</summary>
    public StoreOptions With(StoreOptions options, ParseResult parsed) =>
        parsed.GetValue(_compression) is { } compression ? options with { Compression = compression } : options;

    /// <summary>How to capture; it counts as begun when the program was started.</summary>
    /// <param name="target">Whom.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">Its surroundings.</param>
    /// <param name="lockTimeout">What `--lock-timeout` says, if it is given.</param>
    /// <exception cref="UsageException">A value makes no sense.</exception>
    public CaptureOptions Of(ProcessSketch target, ParseResult parsed, CommandContext context, TimeSpan? lockTimeout)
    {
        var buffer = parsed.GetValue(_buffer);
        if (buffer < SmallestBuffer) throw new UsageException($"--buffer {buffer} is too small", "give 1M at least");
        var maxFrozen = parsed.GetValue(_maxFrozen) ?? TimeSpan.FromSeconds(10);
        var maxRounds = parsed.GetValue(_maxRounds);
        if (maxRounds <= 0) throw new UsageException("--max-rounds must be 1 at least", "--pre-copy never does without");
        if (maxFrozen <= TimeSpan.Zero) throw new UsageException("--max-frozen must be more than nothing", "give for instance 500ms");
        var nice = parsed.GetValue(_nice);
        if (nice is < 0 or > Niceness.Most) throw new UsageException($"--nice {nice} is no nice value that crstore gives way with", "give 0 to 19; 0: it doesn't");
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
            Snapshot = parsed.GetValue(_snapshot) switch
            {
                "auto" => SnapshotPolicy.Auto,
                "always" => SnapshotPolicy.Always,
                _ => SnapshotPolicy.Never,
            },
            Tcp = tcp,
            TcpPatience = patience,
            MaxFrozen = maxFrozen,
            Nice = nice,
            RequireRestartable = parsed.GetValue(_requireRestartable),
            LockWait = context.LockWait(lockTimeout),
            StartedAt = context.StartedAt,
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
}

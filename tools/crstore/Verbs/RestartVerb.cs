using System.CommandLine;
using System.Globalization;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Restore.Restart.Lazy;

namespace Crstore.Cli.Verbs;

/// <summary>`restart`: the processes of a checkpoint run again.</summary>
internal sealed class RestartVerb : Verb
{
    private static readonly Dictionary<string, StdioPolicy> StdioPolicies = new()
    {
        ["inherit"] = StdioPolicy.Inherit, ["null"] = StdioPolicy.Null, ["files"] = StdioPolicy.Files,
    };

    private static readonly Dictionary<string, FilesPolicy> FilesPolicies = new()
    {
        ["must-match"] = FilesPolicy.MustMatch, ["warn"] = FilesPolicy.Warn, ["ignore"] = FilesPolicy.Ignore,
    };

    private static readonly Dictionary<string, ClockPolicy> ClockPolicies = new() { ["continue"] = ClockPolicy.Continue, ["host"] = ClockPolicy.Host };

    private static readonly Dictionary<string, bool> TcpPolicies = new() { ["refuse"] = false, ["close"] = true };

    private readonly Argument<string> _crid = new("CRID") { Description = "CRID, or SERIES[@latest|@N|@TIME]" };
    private readonly Option<bool> _detach = new("--detach", "-d") { Description = "Don't wait for it: print the process ids and return" };
    private readonly Option<bool> _newPids = new("--new-pids") { Description = "In a pid namespace of its own, where its process ids are free: for several copies at once" };
    private readonly Option<string?> _clock = new("--clock")
    {
        HelpName = "continue|host",
        Description = "CLOCK_MONOTONIC goes on where it was (a time namespace), or is the host's (default: host; continue after a reboot or on another host)",
    };
    private readonly Option<bool> _lazy = new("--lazy")
    {
        Description = "Let it run at once and fill its memory meanwhile: what it touches first, then the rest. crstore stays until that is done; if it is ended before, so is the program",
    };
    private readonly Option<bool> _stopped = new("--stopped") { Description = "Leave it stopped, for a debugger; SIGCONT lets it go on. Implies --detach" };
    private readonly Option<string?> _chdir = new("--chdir") { HelpName = "DIR", Description = "Its working directory, instead of the one that it was in" };
    private readonly Option<string?> _stdio = new("--stdio")
    {
        HelpName = "inherit|null|files",
        Description = "What takes the place of terminals and of pipes to other processes: crstore's own, /dev/null, or what has that name now (default: inherit; null with --detach)",
    };
    private readonly Option<string> _files = new("--files")
    {
        HelpName = "must-match|warn|ignore",
        Description = "What to do about open files whose size or time has changed since the capture",
        DefaultValueFactory = _ => "must-match",
    };
    private readonly Option<string> _tcp = new("--tcp")
    {
        HelpName = "refuse|close",
        Description = "TCP connections: refuse, unless they were captured with --tcp close; or let them come back as reset",
        DefaultValueFactory = _ => "refuse",
    };
    private readonly Option<string[]> _mapFd = new("--map-fd") { HelpName = "N=PATH", Description = "Fd N gets this file instead of its own. Repeatable" };
    private readonly Option<string[]> _hook = new("--hook") { HelpName = "SCRIPT", Description = "Call it before and afterwards, as those in /etc/crstore/hooks.d; one that fails before stops it. Repeatable" };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public RestartVerb(CommandContext context) : base("restart", "Let the processes of any checkpoint run again.", context)
    {
        Arguments.Add(_crid);
        _stdio.CompletionSources.Add(static _ => StdioPolicies.Keys);
        _files.CompletionSources.Add(static _ => FilesPolicies.Keys);
        _tcp.CompletionSources.Add(static _ => TcpPolicies.Keys);
        foreach (var option in new Option[] { _detach, _lazy, _newPids, _clock, _stopped, _chdir, _stdio, _files, _tcp, _mapFd, _hook, _quiet }) Options.Add(option);
        StoreWords.Complete(_crid, series: true);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("restart redis@latest --detach --lazy", "the last one, in the background; it runs at once, and all of its memory is filled when this returns"),
        new("restart 4711", "in the foreground, with this terminal; its exit code is crstore's"),
        new("restart job@3 --new-pids --files warn --map-fd 1=out.log", "a copy of the third one beside the one that still runs, with another standard output"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target, ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var stopped = parsed.GetValue(_stopped);
        var detach = parsed.GetValue(_detach) || stopped;
        var options = new RestartOptions
        {
            Detach = detach,
            Stopped = stopped,
            Lazy = parsed.GetValue(_lazy),
            NewPids = parsed.GetValue(_newPids),
            Clock = parsed.GetValue(_clock) is { } clock ? Choice(clock, ClockPolicies, "--clock") : ClockPolicy.Auto,
            Directory = parsed.GetValue(_chdir) is { } directory ? Path.GetFullPath(directory) : null,
            Stdio = Choice(parsed.GetValue(_stdio) ?? (detach ? "null" : "inherit"), StdioPolicies, "--stdio"),
            Files = Choice(parsed.GetRequiredValue(_files), FilesPolicies, "--files"),
            CloseConnections = Choice(parsed.GetRequiredValue(_tcp), TcpPolicies, "--tcp"),
            Warn = CommandContext.Warn,
            MappedFds = MappedFds(parsed.GetValue(_mapFd) ?? []),
        };
        using var sources = new Disposables();
        var reader = sources.Add(sources.Add(Context.OpenStore(parsed)).OpenView());
        var image = sources.Add(reader.OpenImage(reader.Resolve(parsed.GetRequiredValue(_crid))));
        var header = image.Manifest.Header;
        var quiet = parsed.GetValue(_quiet) || parsed.GetValue(_json);
        var progress = sources.Add(ProgressDisplay.Start($"restarting CRID {header.Crid}", header.Pages.Logical * VirtualPage.Size, quiet));
        var hooks = new Hooks(parsed.GetValue(_hook) ?? [], Context.Cancel)
        {
            Facts = { ["CRSTORE_STORE"] = StoreLocation.Of(parsed), ["CRSTORE_SERIES"] = header.Series, ["CRSTORE_CRID"] = $"{header.Crid}" },
        };
        hooks.SetPids(image.Manifest.Body.Processes.Select(p => p.Pid));
        RestartResult? result = null;
        try
        {
            hooks.Around("restart", () =>
            {
                result = Restarter.Run(image, options, progress, Context.Cancel);
                hooks.SetPids(result.Pids);
                if (!detach) progress.Dispose(); // the terminal is theirs
            });
            if (detach) Print(header.Crid, result!, parsed);
        }
        catch when (result?.Lazy is not null)
        {
            // They run, whatever has failed here, and need their memory.
            result.Lazy.Wait();
            throw;
        }

        if (detach)
        {
            result!.Lazy?.Wait();
            return ExitCode.Ok;
        }

        return (ExitCode)Foreground.Wait(result!.WaitPid, result.RootPid, Context.Interruption, result.Terminal, result.Relay, () => AwaitMemory(result.Lazy, sources));
    }

    // How the program has ended meanwhile, or null.
    private static WaitReport? AwaitMemory(LazyFill? fill, Disposables sources)
    {
        fill?.Wait();
        sources.Dispose();
        return fill?.Ended;
    }

    private void Print(ulong crid, RestartResult result, ParseResult parsed)
    {
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json =>
            {
                json.WriteNumber("crid", crid);
                json.WriteNumber("pid", result.RootPid);
                json.WriteStartArray("pids");
                foreach (var pid in result.Pids) json.WriteNumberValue(pid);
                json.WriteEndArray();
                json.WriteNumber("bytes", result.Bytes);
                json.WriteBoolean("lazy", result.Lazy is not null);
                json.Objects("phases", result.Phases, static (writer, phase) =>
                {
                    writer.WriteString("name", phase.Name);
                    writer.WriteNumber("ms", Math.Round(phase.Duration.TotalMilliseconds, 2));
                });
                json.Strings("warnings", result.Warnings);
            });
        }
        else if (!parsed.GetValue(_quiet))
        {
            foreach (var pid in result.Pids) Context.Out.WriteLine(pid);
        }
    }

    private static T Choice<T>(string word, Dictionary<string, T> choices, string option) => choices.TryGetValue(word, out var choice) ? choice
        : throw new UsageException($"{option} can't be '{word}'", $"it is one of {string.Join(", ", choices.Keys)}");

    private static Dictionary<int, string> MappedFds(string[] words)
    {
        var mapped = new Dictionary<int, string>();
        foreach (var word in words)
        {
            var (fd, path) = MappedFd(word);
            if (!mapped.TryAdd(fd, path)) throw new UsageException($"--map-fd {fd} is given twice");
        }

        return mapped;
    }

    private static (int, string) MappedFd(string text)
    {
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals > 0 && int.TryParse(text.AsSpan(0, equals), NumberStyles.None, CultureInfo.InvariantCulture, out var fd) && equals + 1 < text.Length
            ? (fd, Path.GetFullPath(text[(equals + 1)..]))
            : throw new UsageException($"--map-fd '{text}' is not N=PATH");
    }
}

using System.CommandLine;
using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Pending;

namespace Crstore.Cli.Verbs;

/// <summary>`capture`: takes a checkpoint of a live process or tree.</summary>
internal sealed class CaptureVerb : Verb
{
    private enum Outcome { Committed, Announced, InMemory }

    private readonly CaptureOptionSet _how = new();
    /// <summary>Of this option <see cref="LazyFront"/> takes notice before anything is parsed.</summary>
    public const string LazyOption = "--lazy";

    private readonly Option<bool> _lazy = new(LazyOption)
    {
        Description = "Print the CRID and end as soon as the target runs again; hashing, compressing and the commit go on in the background. `wait` tells how it ends",
    };
    private readonly Option<bool> _memoryOnly = new("--memory-only")
    {
        Description = "Keep the checkpoint in memory (/dev/shm): `commit` makes it durable, `discard` lets it go, a reboot takes it",
    };
    private readonly Option<bool> _full = new("--full") { Description = "A base, even if the series has a checkpoint to build on" };
    private readonly Option<bool> _keepStopped = new("--keep-stopped") { Description = "Leave the target stopped (SIGSTOP) afterwards" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print the CRID alone" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public CaptureVerb(CommandContext context) : base("capture", "Take a checkpoint of a live process; it goes on running.", context)
    {
        _how.AddTo(this);
        foreach (var option in new Option[] { _lazy, _memoryOnly, _full, _keepStopped, _quiet }) Options.Add(option);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("capture 1234", "a base at first, an increment each next time"),
        new("capture --pidfile /run/redis.pid --series redis", "for cron: no daemon is needed"),
        new("wait $(crstore capture 1234 --lazy --quiet)", "the CRID as soon as the target runs again, and then the commit"),
        new("capture --name postgres --tree --exclude /dev/shm/scratch --json", "a whole tree, without a scratch file, for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes =>
        [ExitCode.Target, ExitCode.Damaged, ExitCode.Busy, ExitCode.FrozenTooLong];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var quiet = parsed.GetValue(_quiet);
        var memoryOnly = parsed.GetValue(_memoryOnly);
        if (memoryOnly && parsed.GetValue(_lazy)) throw new UsageException("--memory-only and --lazy exclude each other", "leave one of them out: --memory-only does not wait for a disk");
        var target = _how.Target(parsed);
        var options = _how.Of(target, parsed, Context, parsed.GetValue(_lockTimeout)) with { KeepStopped = parsed.GetValue(_keepStopped) };
        var hooks = _how.Hooks(parsed, Context.Cancel);
        if (!hooks.Any) options = options with { UsualNice = GivingWay.Begin(options.Nice), MayStayNice = true }; // they would have it as well
        // What is refused anyway makes no store and uses no CRID.
        Admission.CheckAccess(target.Pid);
        if (!hooks.Any) options = Admission.CheckState(options, Context.Cancel);

        using var kit = CaptureKit.ForOne();
        if (!hooks.Any && !parsed.GetValue(_lazy)) kit.Rehearse(options); // later: hooks come before anything else, and no child may have what the worker lets go with
        var storeOptions = _how.With(StoreOptionsOf(parsed, _lockTimeout), parsed);
        using var store = CheckpointStore.OpenOrCreate(storeOptions, out var created);
        if (created) CommandContext.Tell($"created store {storeOptions.Directory} (mode 0700)");
        var series = _how.Series(parsed) ?? DefaultSeries.Of(target, store);
        using var progress = ProgressDisplay.Start("capturing", quiet: quiet || parsed.GetValue(_json));
        (hooks.Facts["CRSTORE_STORE"], hooks.Facts["CRSTORE_SERIES"]) = (storeOptions.Directory, series);
        hooks.SetPids([target.Pid]);
        CheckpointManifest Capture(ICheckpointWriter writer, CaptureOptions how)
        {
            CheckpointManifest? manifest = null;
            hooks.Facts["CRSTORE_CRID"] = $"{writer.Crid}";
            hooks.Around("capture", () => manifest = CaptureSession.Run(how, writer, kit, progress, Context.Cancel));
            return manifest!;
        }

        if (parsed.GetValue(_lazy))
        {
            CaptureLazily(store.BeginLazyCapture(series, parsed.GetValue(_full)), Capture, options, progress, parsed);
            return ExitCode.Ok;
        }

        CheckpointManifest manifest;
        RestartObstacles? obstacles = null;
        if (!quiet) options = options with { Described = described => obstacles = RestartObstacles.Find(described.Body) };
        var full = parsed.GetValue(_full);
        using (var writer = memoryOnly ? store.BeginMemoryCapture(series, full, () => MemoryEstimate.Of(target.Pid)) : store.BeginCapture(series, full)) manifest = Capture(writer, options);
        progress.Dispose();
        Tell(manifest, obstacles?.Of(manifest.Crid), parsed, memoryOnly ? Outcome.InMemory : Outcome.Committed);
        return ExitCode.Ok;
    }

    // Says what it has to say when the target runs again. What comes behind that is told by `wait`.
    private void CaptureLazily(LazyCapture writer, Func<ICheckpointWriter, CaptureOptions, CheckpointManifest> capture, CaptureOptions options, ProgressDisplay progress, ParseResult parsed)
    {
        using var worker = LazyWorker.Join();
        using (writer)
        {
            try
            {
                capture(writer, options with
                {
                    Thawed = (manifest, content) =>
                    {
                        writer.Announce(manifest, content);
                        progress.Dispose();
                        Tell(manifest, parsed.GetValue(_quiet) ? null : RestartObstacles.Of(manifest), parsed, Outcome.Announced);
                        worker?.LetGo(Context);
                    },
                });
            }
            catch (CrstoreException e)
            {
                writer.Fail(e.ExitCode, e.Message, e.Hint);
                throw;
            }
            catch (OperationCanceledException)
            {
                writer.Fail(ExitCode.Interrupted, "interrupted", null);
                throw;
            }
            catch (Exception e)
            {
                writer.Fail(e is LinuxException or IOException or UnauthorizedAccessException ? ExitCode.Environment : ExitCode.Internal, e.Message, null);
                throw;
            }
        }
    }

    private void Tell(CheckpointManifest manifest, string? obstacles, ParseResult parsed, Outcome outcome)
    {
        var quiet = parsed.GetValue(_quiet);
        foreach (var warning in manifest.Body.Warnings) CommandContext.Warn(warning);
        if (obstacles is not null) CommandContext.Tell(obstacles);
        Print(manifest, quiet, parsed.GetValue(_json), outcome);
    }

    private void Print(CheckpointManifest manifest, bool quiet, bool json, Outcome outcome)
    {
        var header = manifest.Header;
        if (json)
        {
            JsonOutput.Object(Context, writer =>
            {
                CheckpointJson.Header(writer, header, outcome == Outcome.InMemory);
                CheckpointJson.Phases(writer, manifest.Body);
                writer.Strings("warnings", manifest.Body.Warnings);
                writer.WriteBoolean("committed", outcome == Outcome.Committed);
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
            Context.Out.WriteLine(outcome switch
            {
                Outcome.Announced => $"frozen {Units.Milliseconds(header.FrozenNs)} ms; being written back, `crstore wait {manifest.Crid}` tells when it is committed",
                Outcome.InMemory => $"{Units.Cost(header)}; in memory only, until `crstore commit {manifest.Crid}` or `crstore discard {manifest.Crid}`",
                _ => Units.Cost(header),
            });
        }
    }
}

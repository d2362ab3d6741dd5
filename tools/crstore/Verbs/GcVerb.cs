using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`gc`: frees what no checkpoint and no running capture can reach.</summary>
internal sealed class GcVerb : Verb
{
    private readonly Option<bool> _dryRun = new("--dry-run", "-n") { Description = "Only say what would be freed" };
    private readonly Option<bool> _recompress = new("--recompress") { Description = "Then pack what is left harder: slow, but what reads and captures meanwhile is not kept waiting; goes on where an interrupted one ended" };
    private readonly Option<TimeSpan?> _wait = new("--wait")
    {
        HelpName = "SECONDS",
        Description = "How long to wait for captures that began before; default: 60",
        CustomParser = Quantities.Parser(Quantities.Duration, "a time such as 30 or 5m"),
    };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public GcVerb(CommandContext context)
        : base("gc", "Free what no checkpoint and no running capture can reach; safe beside captures and restores.", context)
    {
        foreach (var option in new Option[] { _dryRun, _recompress, _wait, _quiet }) Options.Add(option);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("gc", "after forget"),
        new("gc --dry-run --json", "what it would free"),
        new("gc --recompress", "once a night: frames smaller by a tenth to two fifths, in minutes"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged, ExitCode.Busy];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var quiet = parsed.GetValue(_quiet);
        var options = new GcOptions(parsed.GetValue(_dryRun), parsed.GetValue(_wait) ?? TimeSpan.FromSeconds(60));
        if (options.DryRun && parsed.GetValue(_recompress)) throw new UsageException("--recompress can't say in advance what it would gain", "leave out --dry-run or --recompress");
        using var store = CheckpointStore.Open(StoreOptionsOf(parsed, _lockTimeout));
        GcResult result;
        RecompressResult? packed = null;
        using (var progress = ProgressDisplay.Start("collecting", quiet: quiet || parsed.GetValue(_json)))
        {
            if (!options.DryRun) store.TidyMemory(Context.Cancel); // first: what is committed there
            result = store.CollectGarbage(options, progress, Context.Cancel);
            if (parsed.GetValue(_recompress)) packed = store.Recompress(progress, Context.Cancel);
        }

        if (parsed.GetValue(_json)) WriteJson(result, packed);
        else if (!quiet) WriteText(result, packed);
        if (result.HeldBy.Count == 0) return ExitCode.Ok;
        CommandContext.Tell($"gc freed no pages: it waited in vain for {string.Join(", ", result.HeldBy)}; run it again later, or with a longer --wait");
        return ExitCode.Busy;
    }

    private void WriteText(GcResult result, RecompressResult? packed)
    {
        var freed = result.BytesBefore > result.BytesAfter ? result.BytesBefore - result.BytesAfter : 0;
        Context.Out.WriteLine($"{(result.DryRun ? "would free" : "freed")} {Units.Count(result.ChunksFreed, "chunk")}" +
            $" and {Units.Count(result.SegmentsFreed, "map segment")}: {Units.Count(result.FramesDeleted, "frame")} deleted, " +
            $"{result.FramesRewritten} rewritten, {Units.Count(result.OrphanFilesFreed, "orphan file")}");
        Context.Out.WriteLine(result.DryRun
            ? $"{Units.Bytes(result.BytesBefore)} on disk, took {Units.Span(result.Duration)}"
            : $"{Units.Bytes(freed)} freed ({Units.Bytes(result.BytesBefore)} → {Units.Bytes(result.BytesAfter)}), took {Units.Span(result.Duration)}");
        if (result.DamagedFrames > 0)
            Context.Out.WriteLine($"{Units.Count(result.DamagedFrames, "damaged frame")} met: new captures store that content again; `crstore verify --all --read-data` says which checkpoints are hit");
        if (packed is null) return;
        Context.Out.WriteLine($"{packed.Packed} of {Units.Count(packed.Looked, "frame")} packed harder: {Units.Bytes(packed.BytesSaved)} saved" +
            $" ({Units.Bytes(packed.BytesBefore)} → {Units.Bytes(packed.BytesAfter)}), took {Units.Span(packed.Duration)}");
        if (packed.Damaged > 0) Context.Out.WriteLine($"{Units.Count(packed.Damaged, "damaged frame")} left as they are: `crstore verify --all --read-data` says which checkpoints are hit");
    }

    private void WriteJson(GcResult result, RecompressResult? packed) => JsonOutput.Object(Context, json =>
    {
        json.WriteNumber("chunks_freed", result.ChunksFreed);
        json.WriteNumber("frames_deleted", result.FramesDeleted);
        json.WriteNumber("frames_rewritten", result.FramesRewritten);
        json.WriteNumber("segments_freed", result.SegmentsFreed);
        json.WriteNumber("orphan_files_freed", result.OrphanFilesFreed);
        json.WriteNumber("damaged_frames", result.DamagedFrames);
        json.WriteNumber("bytes_before", result.BytesBefore);
        json.WriteNumber("bytes_after", result.BytesAfter);
        json.WriteNumber("duration_ms", Math.Round(result.Duration.TotalMilliseconds, 1));
        json.WriteBoolean("dry_run", result.DryRun);
        json.Strings("held_by", result.HeldBy);
        if (packed is null) return;
        json.WriteStartObject("recompressed");
        json.WriteNumber("looked", packed.Looked);
        json.WriteNumber("packed", packed.Packed);
        json.WriteNumber("bytes_saved", packed.BytesSaved);
        json.WriteNumber("damaged", packed.Damaged);
        json.WriteNumber("bytes_before", packed.BytesBefore);
        json.WriteNumber("bytes_after", packed.BytesAfter);
        json.WriteNumber("duration_ms", Math.Round(packed.Duration.TotalMilliseconds, 1));
        json.WriteEndObject();
    });
}

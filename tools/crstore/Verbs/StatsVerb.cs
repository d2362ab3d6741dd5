using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`stats`: sizes and ratios of a store.</summary>
internal sealed class StatsVerb : Verb
{
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public StatsVerb(CommandContext context)
        : base("stats", "Show sizes: logical, unique and compressed bytes, dedup and compression ratios, per series.", context) => _json = AddJson();

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("stats", "what the store holds and what dedup and compression save"),
        new("stats --json", "the same for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenReader();
        var damage = new DamageWarnings();
        StoreStats stats;
        using (var progress = ProgressDisplay.Start("reading page maps", quiet: parsed.GetValue(_json))) stats = reader.Stats(progress, Context.Cancel, damage.Tell);
        var memory = store.MemoryUse();
        if (parsed.GetValue(_json)) WriteJson(stats, memory);
        else WriteText(stats, memory);
        return damage.ExitCode;
    }

    private void WriteText(StoreStats stats, MemoryUse memory)
    {
        Field("checkpoints", $"{stats.Checkpoints}");
        Field("logical", $"{Units.Bytes(stats.LogicalBytes)} (what all of them hold, each in full)");
        Field("unique", $"{Units.Bytes(stats.UniqueBytes)} in {stats.Chunks} chunks (dedup {Units.Ratio(stats.DedupRatio)})");
        Field("compressed", $"{Units.Bytes(stats.CompressedBytes)} (compression {Units.Ratio(stats.CompressionRatio)})");
        Field("page maps", Units.Bytes(stats.MapBytes));
        Field("index", Units.Bytes(stats.IndexBytes));
        Field("on disk", Units.Bytes(stats.DirectoryBytes));
        if (memory.Checkpoints > 0) Field("in memory", $"{Units.Bytes(memory.Bytes)}, {Units.Count((ulong)memory.Checkpoints, "checkpoint")} besides");
        Context.Out.WriteLine();
        SeriesVerb.Table(stats.Series).Write(Context.Out);
    }

    private void Field(string name, string value) => Context.Out.WriteLine($"{name,-12} {value}");

    private void WriteJson(StoreStats stats, MemoryUse memory) => JsonOutput.Object(Context, json =>
    {
        json.WriteNumber("checkpoints", stats.Checkpoints);
        json.WriteNumber("logical_bytes", stats.LogicalBytes);
        json.WriteNumber("unique_bytes", stats.UniqueBytes);
        json.WriteNumber("compressed_bytes", stats.CompressedBytes);
        json.WriteNumber("map_bytes", stats.MapBytes);
        json.WriteNumber("index_bytes", stats.IndexBytes);
        json.WriteNumber("directory_bytes", stats.DirectoryBytes);
        json.WriteNumber("chunks", stats.Chunks);
        json.WriteNumber("dedup_ratio", Math.Round(stats.DedupRatio, 3));
        json.WriteNumber("compression_ratio", Math.Round(stats.CompressionRatio, 3));
        json.WriteStartObject("in_memory");
        json.WriteNumber("checkpoints", memory.Checkpoints);
        json.WriteNumber("bytes", memory.Bytes);
        json.WriteEndObject();
        json.Objects("series", stats.Series, SeriesVerb.WriteJson);
    });
}

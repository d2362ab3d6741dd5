using System.CommandLine.Parsing;
using System.Globalization;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>`--compression`: none, zstd, or zstd:LEVEL.</summary>
internal static class CompressionParser
{
    private const int HighestLevel = 19;

    /// <summary>Parser of the option.</summary>
    public static Compression? Parse(ArgumentResult result)
    {
        var text = result.Tokens[^1].Value;
        var compression = Value(text);
        if (compression is null) result.AddError($"--compression '{text}' is neither none nor zstd:N with N from 1 to {HighestLevel}");
        return compression;
    }

    private static Compression? Value(string text) => text switch
    {
        "none" => new Compression((int?)null),
        "zstd" => Compression.Default,
        _ when text.StartsWith("zstd:", StringComparison.Ordinal)
            && int.TryParse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out var level)
            && level is >= 1 and <= HighestLevel => new Compression(level),
        _ => null,
    };
}

using System.CommandLine.Parsing;
using System.Globalization;
using Crstore.Capture;
using Crstore.Model;

namespace Crstore.Cli;

/// <summary>`--exclude`: 0xSTART-0xEND, START+SIZE, or the path or name of a mapping.</summary>
internal static class ExcludeParser
{
    /// <summary>Parser of the repeatable option.</summary>
    public static ExcludeRule[] Parse(ArgumentResult result)
    {
        var rules = new List<ExcludeRule>(result.Tokens.Count);
        foreach (var token in result.Tokens)
        {
            if (Rule(token.Value, out var error) is { } rule) rules.Add(rule);
            else result.AddError($"--exclude '{token.Value}': {error}");
        }
        return [.. rules];
    }

    /// <summary>One rule; null with a sentence if it is not one.</summary>
    public static ExcludeRule? Rule(string text, out string error)
    {
        error = "empty";
        if (text.Length == 0) return null;
        if (!char.IsAsciiDigit(text[0])) return new ExcludeRule(null, null, MappingName(text));

        error = "a range is 0xSTART-0xEND or START+SIZE; a file whose name begins with a digit needs its whole path";
        var sign = text.IndexOfAny(['-', '+']);
        if (sign < 0 || Address(text[..sign]) is not { } start) return null;
        var end = text[sign] == '-' ? Address(text[(sign + 1)..]) : start + (ulong?)Quantities.Size(text[(sign + 1)..]);
        if (end is null) return null;

        error = "the end is not behind the start";
        if (end <= start) return null;
        error = $"start and end must be multiples of the page size, {VirtualPage.Size}";
        return start % VirtualPage.Size == 0 && end.Value % VirtualPage.Size == 0 ? new ExcludeRule(start, end, null) : null;
    }

    private static ulong? Address(string text)
    {
        var hex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        var style = hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None;
        return ulong.TryParse(hex ? text.AsSpan(2) : text, style, CultureInfo.InvariantCulture, out var address) ? address : null;
    }

    /// <summary>/proc/PID/maps has absolute paths, and names such as [heap], anon_inode:…</summary>
    private static string MappingName(string text) => text[0] is '[' or '/' or '*' or '?' || text.Contains(':') ? text : Path.GetFullPath(text);
}

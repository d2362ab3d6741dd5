using System.CommandLine.Parsing;
using System.Globalization;

namespace Crstore.Cli;

/// <summary>Sizes, times and shares as they are typed. A parser gives null and a sentence when it cannot.</summary>
internal static class Quantities
{
    /// <summary>Bytes: "4096", "64K", "1.5G", "2MiB" (binary units), "0x1000".</summary>
    public static long? Size(string text)
    {
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return long.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var hex) && hex >= 0
                ? hex : null;
        }
        var number = text.TrimEnd('B', 'b', 'i', 'I');
        var shift = number.Length == 0 ? 0 : char.ToUpperInvariant(number[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, 'T' => 40, _ => 0 };
        if (shift > 0) number = number[..^1];
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)) return null;
        // Larger than any machine's memory is a slip of the hand.
        return value > 1L << 50 >> shift ? null : (long)(value * (1L << shift));
    }

    /// <summary>A span of time: "500ms", "2s", "1m", "1h"; a bare number is seconds.</summary>
    public static TimeSpan? Duration(string text)
    {
        var digits = text.TrimEnd('m', 's', 'h');
        double? unit = text[digits.Length..] switch { "ms" => 0.001, "" or "s" => 1, "m" => 60, "h" => 3600, _ => null };
        if (unit is null || !double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)) return null;
        var seconds = value * unit.Value;
        return seconds <= TimeSpan.FromDays(7).TotalSeconds ? TimeSpan.FromSeconds(seconds) : null;
    }

    /// <summary>A share above 0 and up to 100: "5%", "0.5%", "5".</summary>
    public static double? Percent(string text) =>
        double.TryParse(text.TrimEnd('%'), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) && value is > 0 and <= 100
            ? value : null;

    /// <summary>How many: 0 or more.</summary>
    public static int? Count(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var count) ? count : null;

    /// <summary>A process id.</summary>
    public static int? Pid(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var pid) && pid > 0 ? pid : null;

    /// <summary>Makes a parser for an option out of one of the above.</summary>
    public static Func<ArgumentResult, T?> Parser<T>(Func<string, T?> parse, string expected) where T : struct => result =>
    {
        var text = result.Tokens[^1].Value;
        var value = parse(text);
        if (value is null) result.AddError($"'{text}' is not {expected}");
        return value;
    };
}

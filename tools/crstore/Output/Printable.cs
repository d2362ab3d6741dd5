using System.Text;

namespace Crstore.Cli;

/// <summary>
/// Text from a target (names, paths, command lines) made safe for a terminal: a process may call itself anything,
/// escape sequences included.
/// </summary>
internal static class Printable
{
    /// <summary>The text with control characters as \xNN.</summary>
    public static string Of(string text)
    {
        if (!text.Any(char.IsControl)) return text;
        var safe = new StringBuilder(text.Length + 16);
        foreach (var c in text)
        {
            if (char.IsControl(c)) safe.Append($"\\x{(int)c:x2}");
            else safe.Append(c);
        }
        return safe.ToString();
    }
}

using System.Globalization;
using System.Text;

namespace Crstore.Linux.Files;

/// <summary>/proc/self/mountinfo, proc(5): where a file system is mounted.</summary>
public static class MountPlaces
{
    /// <summary>Its mount points here.</summary>
    /// <param name="device">As in st_dev.</param>
    public static IReadOnlyList<string> Of(ulong device)
    {
        var found = new List<string>();
        foreach (var line in File.ReadLines("/proc/self/mountinfo"))
        {
            // id, parent, major:minor, root, mount point…
            var words = line.Split(' ');
            var numbers = words[2].Split(':');
            var mounted = FileStatus.MakeDev(uint.Parse(numbers[0], CultureInfo.InvariantCulture), uint.Parse(numbers[1], CultureInfo.InvariantCulture));
            if (mounted == device) found.Add(Unescape(words[4]));
        }

        return found;
    }

    // Space, tab, newline and backslash are three octal digits behind a backslash.
    private static string Unescape(string text)
    {
        if (!text.Contains('\\', StringComparison.Ordinal)) return text;
        var bytes = new List<byte>();
        var raw = Encoding.UTF8.GetBytes(text);
        for (var i = 0; i < raw.Length; i++)
        {
            if (raw[i] == '\\' && i + 3 < raw.Length)
            {
                bytes.Add((byte)((raw[i + 1] - '0') * 64 + (raw[i + 2] - '0') * 8 + raw[i + 3] - '0'));
                i += 3;
            }
            else
            {
                bytes.Add(raw[i]);
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }
}

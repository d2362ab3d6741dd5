using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Cli;

/// <summary>Figures for people.</summary>
internal static class Units
{
    /// <summary>Bytes in binary units: "712 B", "1.5 MiB".</summary>
    public static string Bytes(ulong bytes)
    {
        if (bytes < 1024) return $"{bytes} B";
        string[] names = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        var value = bytes / 1024.0;
        var unit = 0;
        for (; value >= 1023.95 && unit < names.Length - 1; unit++) value /= 1024;
        return string.Create(CultureInfo.InvariantCulture, $"{value:0.0} {names[unit]}");
    }

    /// <summary>Pages as bytes.</summary>
    public static string Pages(ulong pages) => Bytes(pages * VirtualPage.Size);

    /// <summary>Nanoseconds as milliseconds: "3.41", "1250".</summary>
    public static string Milliseconds(ulong nanoseconds)
    {
        var ms = nanoseconds / 1e6;
        return ms.ToString(ms < 100 ? "0.00" : "0", CultureInfo.InvariantCulture);
    }

    /// <summary>What a capture took and stored.</summary>
    public static string Cost(CheckpointHeader header) => $"frozen {Milliseconds(header.FrozenNs)} ms, dirty {Pages(header.Pages.Dirty)}, " +
        $"new {Pages(header.Pages.Fresh)}, stored {Bytes(header.BytesStored)}, total {Milliseconds(header.TotalNs)} ms";

    /// <summary>A span of time: "850 ms", "12.3 s".</summary>
    public static string Span(TimeSpan span) => span.TotalSeconds < 1
        ? string.Create(CultureInfo.InvariantCulture, $"{span.TotalMilliseconds:0} ms")
        : string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:0.0} s");

    /// <summary>A ratio: "3.1×".</summary>
    public static string Ratio(double ratio) => string.Create(CultureInfo.InvariantCulture, $"{ratio:0.0}×");

    /// <summary>A count of things: "1 page", "2 pages".</summary>
    public static string Count(ulong count, string noun) => count == 1 ? $"1 {noun}" : $"{count} {noun}s";

    /// <summary>Local time to the second.</summary>
    public static string Time(DateTimeOffset time) => time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);

    /// <summary>The instant of a header's clock.</summary>
    public static DateTimeOffset Instant(long unixNanoseconds) => DateTimeOffset.UnixEpoch.AddTicks(unixNanoseconds / 100);

    /// <summary>"base" or "increment".</summary>
    public static string Name(CheckpointKind kind) => kind switch
    {
        CheckpointKind.Base => "base",
        CheckpointKind.Increment => "increment",
        _ => "unknown",
    };

    /// <summary>The word that `--tracker` takes.</summary>
    public static string Name(TrackerKind tracker) => tracker switch
    {
        TrackerKind.Hash => "hash",
        TrackerKind.SoftDirty => "soft-dirty",
        TrackerKind.Uffd => "uffd",
        _ => "none",
    };

    /// <summary>rwx and p or s, as in /proc/PID/maps.</summary>
    public static string Protection(Vma vma) => string.Create(4, vma, static (text, vma) =>
    {
        text[0] = (vma.Protection & 1) != 0 ? 'r' : '-';
        text[1] = (vma.Protection & 2) != 0 ? 'w' : '-';
        text[2] = (vma.Protection & 4) != 0 ? 'x' : '-';
        text[3] = vma.Shared ? 's' : 'p';
    });

    /// <summary>"saved", "file" or "not captured".</summary>
    public static string Name(VmaContent content) => content switch
    {
        VmaContent.Saved => "saved",
        VmaContent.FileBacked => "file",
        VmaContent.NotCaptured => "not captured",
        _ => "unknown",
    };
}

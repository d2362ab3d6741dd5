using System.Globalization;

namespace Crstore.Model;

/// <summary>
/// Named places where a test lets the process die: CRSTORE_FAULT=name[:n] makes the n-th pass (the first, without n) of
/// that point a SIGKILL to itself. Without the variable a point costs one comparison.
/// </summary>
public static class FaultPoint
{
    private static int countdown;
    private static readonly string? Armed = Parse();

    /// <summary>Dies here if this point is armed.</summary>
    /// <param name="name">"room.point".</param>
    public static void Hit(string name)
    {
        if (Armed is null || Armed != name || Interlocked.Decrement(ref countdown) != 0) return;
        System.Diagnostics.Process.GetCurrentProcess().Kill(); // SIGKILL
        Thread.Sleep(Timeout.Infinite);
    }

    private static string? Parse()
    {
        countdown = 1;
        var text = Environment.GetEnvironmentVariable("CRSTORE_FAULT");
        if (string.IsNullOrEmpty(text)) return null;
        var colon = text.LastIndexOf(':');
        if (colon < 0) return text;
        countdown = int.Parse(text[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture);
        return text[..colon];
    }
}

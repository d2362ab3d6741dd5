using System.Globalization;
using System.Text;
using Crstore.Model.Format;

namespace Crstore.Capture.State;

/// <summary>/proc/PID/timers, proc(5): four lines a timer of timer_create(2). What is left of each must be asked for.</summary>
internal static class PosixTimers
{
    private const int None = 1, ThreadId = 4; // SIGEV_NONE, SIGEV_THREAD_ID, sigevent(7)

    internal static List<PosixTimer> Parse(ReadOnlySpan<byte> text)
    {
        var timers = new List<PosixTimer>();
        foreach (var line in Encoding.ASCII.GetString(text).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon < 0) continue;
            var value = line[(colon + 1)..].Trim();
            var parts = value.Split('/');
            switch (line[..colon])
            {
                case "ID":
                    timers.Add(new PosixTimer { Id = Number(value) });
                    break;
                case "signal": // number/sigev_value
                    timers[^1].Signal = Number(parts[0]);
                    timers[^1].Value = ulong.Parse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
                    break;
                case "notify": // signal|none|thread/pid.N or tid.N
                    timers[^1].Notify = parts[0] == "none" ? None : parts[1].StartsWith("tid.", StringComparison.Ordinal) ? ThreadId : 0;
                    if (timers[^1].Notify == ThreadId) timers[^1].Tid = Number(parts[1][4..]);
                    break;
                case "ClockID":
                    timers[^1].Clock = Number(value);
                    break;
            }
        }

        return timers;
    }

    private static int Number(string text) => int.Parse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
}

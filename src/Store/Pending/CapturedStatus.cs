using System.Globalization;
using System.Text;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Layout;

namespace Crstore.Store.Pending;

/// <summary>How a CRID stands that was announced before its commit.</summary>
public enum CapturedState
{
    /// <summary>It is in the store.</summary>
    Committed,

    /// <summary>It is being written back.</summary>
    Writing,

    /// <summary>It will never be there, and it is known why.</summary>
    Failed,

    /// <summary>Whoever wrote it back was killed.</summary>
    Died,

    /// <summary>It is kept in memory only. In the store's file: it was.</summary>
    InMemory,
}

/// <summary>How a CRID stands, and why.</summary>
/// <param name="State">How.</param>
/// <param name="Pid">Who writes or wrote it back; 0 once it is committed.</param>
/// <param name="ExitCode">With <see cref="CapturedState.Failed"/>: of what went wrong.</param>
/// <param name="Reason">With <see cref="CapturedState.Failed"/>: a sentence.</param>
/// <param name="Hint">What to do about it, if there is anything.</param>
public sealed record CapturedStatus(CapturedState State, int Pid = 0, ExitCode ExitCode = ExitCode.Ok, string Reason = "", string? Hint = null)
{
    /// <summary>A line each: state, pid, exit code, reason, hint.</summary>
    internal void Write(StorePaths paths, Crid crid)
    {
        var text = string.Create(CultureInfo.InvariantCulture, $"{State}\n{Pid}\n{(int)ExitCode}\n{OneLine(Reason)}\n{OneLine(Hint ?? "")}\n");
        PendingFiles.Write(paths, PendingFiles.StatusPath(paths, crid), Encoding.UTF8.GetBytes(text));
    }

    /// <summary>What was written last; null if nothing was. Never says <see cref="CapturedState.Committed"/> or <see cref="CapturedState.Died"/>.</summary>
    internal static CapturedStatus? Read(StorePaths paths, Crid crid)
    {
        if (FileCalls.ReadText(PendingFiles.StatusPath(paths, crid))?.Split('\n') is not { Length: >= 5 } lines
            || !Enum.TryParse<CapturedState>(lines[0], out var state)
            || !int.TryParse(lines[1], NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
            || !int.TryParse(lines[2], NumberStyles.None, CultureInfo.InvariantCulture, out var code)) return null;
        return new CapturedStatus(state, pid, (ExitCode)code, lines[3], lines[4].Length > 0 ? lines[4] : null);
    }

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");
}

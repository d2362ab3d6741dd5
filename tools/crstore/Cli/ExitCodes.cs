using Crstore.Model;

namespace Crstore.Cli;

/// <summary>What the exit codes mean, in words: for `--help` and the man page.</summary>
internal static class ExitCodes
{
    private static readonly ExitCode[] OfEveryVerb =
        [ExitCode.Ok, ExitCode.Internal, ExitCode.Usage, ExitCode.Environment, ExitCode.Interrupted];

    /// <summary>All of a verb's codes in ascending order.</summary>
    public static IEnumerable<ExitCode> Of(Verb verb) => OfEveryVerb.Concat(verb.ExitCodes).Distinct().Order();

    /// <summary>All there are.</summary>
    public static IEnumerable<ExitCode> All => Enum.GetValues<ExitCode>().Order();

    /// <summary>A short meaning.</summary>
    public static string Meaning(ExitCode code) => code switch
    {
        ExitCode.Ok => "done",
        ExitCode.Internal => "an error nobody foresaw (a bug)",
        ExitCode.Usage => "wrong use: bad options, unknown CRID or series, a path that exists",
        ExitCode.Target => "the target is gone, or access to it was refused",
        ExitCode.Damaged => "the store is damaged",
        ExitCode.Busy => "the store, the series or the target is busy and the wait timed out",
        ExitCode.Environment => "the environment refused: disk full, no permission, missing library, newer format",
        ExitCode.FrozenTooLong => "the limit on frozen time was reached; the target was let go, the attempt is void",
        ExitCode.TargetEnded => "the watched process has ended; what was captured of it is committed",
        ExitCode.Interrupted => "interrupted by SIGINT or SIGTERM; nothing is left broken",
        _ => code.ToString(),
    };
}

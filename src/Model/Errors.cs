namespace Crstore.Model;

/// <summary>The program's documented exit codes.</summary>
public enum ExitCode
{
    /// <summary>Done.</summary>
    Ok = 0,

    /// <summary>An error nobody foresaw: a bug.</summary>
    Internal = 1,

    /// <summary>Wrong use: bad options, unknown CRID or series, a path that exists.</summary>
    Usage = 2,

    /// <summary>The target is gone, or the kernel refused access to it.</summary>
    Target = 3,

    /// <summary>The store is damaged.</summary>
    Damaged = 4,

    /// <summary>The store, the series or the target is busy and the wait timed out.</summary>
    Busy = 5,

    /// <summary>The environment refused: disk full, read-only, no permission, missing library, newer format.</summary>
    Environment = 6,

    /// <summary>The frozen-time limit was reached: the target was let go and the attempt is void.</summary>
    FrozenTooLong = 7,

    /// <summary>The watched process has ended; all that was captured of it is committed.</summary>
    TargetEnded = 8,

    /// <summary>Interrupted by SIGINT or SIGTERM.</summary>
    Interrupted = 130,
}

/// <summary>An error with a sentence for the user that names the object, and a hint that says what to do.</summary>
public abstract class CrstoreException(ExitCode exitCode, string message, string? hint, Exception? inner)
    : Exception(message, inner)
{
    /// <summary>What the process exits with.</summary>
    public ExitCode ExitCode { get; } = exitCode;

    /// <summary>What to do about it, or null.</summary>
    public string? Hint { get; } = hint;
}

/// <summary>The caller's mistake.</summary>
public sealed class UsageException(string message, string? hint = null)
    : CrstoreException(ExitCode.Usage, message, hint, null);

/// <summary>The target is gone, or may not be touched.</summary>
public sealed class TargetException(string message, string? hint = null, Exception? inner = null)
    : CrstoreException(ExitCode.Target, message, hint, inner);

/// <summary>The target was frozen for too long and was let go; the attempt is void.</summary>
public sealed class FrozenTooLongException(string message, string? hint = null)
    : CrstoreException(ExitCode.FrozenTooLong, message, hint, null);

/// <summary>Corruption: never a guess at content. Names CRID, space and page as far as they are known.</summary>
public sealed class StoreDamagedException(string message, string? hint = null, Exception? inner = null)
    : CrstoreException(ExitCode.Damaged, message, hint ?? "run `crstore verify --all` to see which CRIDs are whole", inner);

/// <summary>Somebody else holds what is needed; names whom.</summary>
public sealed class StoreBusyException(string message, string? hint = null)
    : CrstoreException(ExitCode.Busy, message, hint, null);

/// <summary>The environment's refusal: names the object, the call and the errno.</summary>
public sealed class EnvironmentException(string message, string? hint = null, Exception? inner = null)
    : CrstoreException(ExitCode.Environment, message, hint, inner);

/// <summary>What this capture is built on was not committed, so it can't be either.</summary>
public sealed class VoidCaptureException(string message)
    : CrstoreException(ExitCode.Environment, message, "capture again: the next one reads everything", null);

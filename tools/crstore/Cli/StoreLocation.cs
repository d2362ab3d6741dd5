using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>Which store is meant: `--store`, else CRSTORE_STORE, else the default of the user.</summary>
internal static class StoreLocation
{
    /// <summary>Root's store.</summary>
    public const string SystemDirectory = "/var/lib/crstore";

    /// <summary>The option, valid before and after the verb.</summary>
    public static Option<string> Option { get; } = new("--store")
    {
        Description = "Store directory; default: $CRSTORE_STORE, else /var/lib/crstore for root and the XDG state directory for others",
        HelpName = "DIR",
        Recursive = true,
    };

    /// <summary>The absolute directory.</summary>
    /// <exception cref="UsageException">It is empty, or nothing says where the home directory is.</exception>
    public static string Of(ParseResult parsed)
    {
        if (parsed.GetResult(Option) is not null)
            return NotEmpty(parsed.GetValue(Option), "--store");
        if (Environment.GetEnvironmentVariable("CRSTORE_STORE") is { Length: > 0 } fromEnvironment)
            return NotEmpty(fromEnvironment, "CRSTORE_STORE");
        return Default();
    }

    /// <summary>That store, and the tmpfs for what is kept in memory only: CRSTORE_MEMORY, else /dev/shm.</summary>
    public static StoreOptions OptionsOf(ParseResult parsed) => new(Of(parsed))
    {
        MemoryRoot = Environment.GetEnvironmentVariable("CRSTORE_MEMORY") is { Length: > 0 } root ? Path.GetFullPath(root) : null,
    };

    private static string NotEmpty(string? directory, string source) => string.IsNullOrWhiteSpace(directory)
        ? throw new UsageException($"{source} is empty", "give the store's directory")
        : Path.GetFullPath(directory);

    /// <summary>XDG Base Directory Specification: $XDG_STATE_HOME, if absolute, else ~/.local/state.</summary>
    private static string Default()
    {
        if (Environment.IsPrivilegedProcess) return SystemDirectory;
        var state = Environment.GetEnvironmentVariable("XDG_STATE_HOME");
        if (state is ['/', ..]) return Path.Combine(state, "crstore");
        // Not only $HOME: the runtime falls back to the password database, which cron's bare environment needs.
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        return home is ['/', _, ..]
            ? Path.Combine(home, ".local", "state", "crstore")
            : throw new UsageException("no home directory to keep the store in", "give --store DIR, or set CRSTORE_STORE");
    }
}

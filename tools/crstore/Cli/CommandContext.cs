using System.CommandLine;
using System.Text;
using Crstore.Capture.Snapshots;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>What every verb is given: streams, the start time stamp, cancellation, and the way to the store.</summary>
internal sealed class CommandContext
{
    /// <summary>Creates it; standard output is buffered, since a list of 1000 lines must not be 1000 writes.</summary>
    public CommandContext(long startedAt, Interruption interruption)
    {
        StartedAt = startedAt;
        Interruption = interruption;
        StandardOutput = Console.OpenStandardOutput();
        Out = new StreamWriter(StandardOutput, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), 32 * 1024);
    }

    /// <summary><see cref="System.Diagnostics.Stopwatch.GetTimestamp"/> at the start of the program.</summary>
    public long StartedAt { get; }

    /// <summary>Cancelled by SIGINT and SIGTERM.</summary>
    public CancellationToken Cancel => Interruption.Token;

    /// <summary>Where those signals come in, for who passes them on.</summary>
    public Interruption Interruption { get; }

    /// <summary>Standard output, buffered; flushed at the end by <see cref="CommandRunner"/>.</summary>
    public StreamWriter Out { get; }

    /// <summary>The stream under <see cref="Out"/>, for writers of bytes.</summary>
    public Stream StandardOutput { get; }

    /// <summary>A line on standard error, with the program's name in front.</summary>
    public static void Tell(string line) => Console.Error.WriteLine($"crstore: {Printable.Of(line)}");

    /// <summary>A warning on standard error.</summary>
    public static void Warn(string line) => Tell($"warning: {line}");

    /// <summary>What to do, on standard error.</summary>
    public static void Hint(string line) => Console.Error.WriteLine($"hint: {Printable.Of(line)}");

    /// <summary>Opens the store that the command line names.</summary>
    public CheckpointStore OpenStore(ParseResult parsed) => CheckpointStore.Open(OptionsOf(parsed));

    /// <summary>How to wait for another capture of a process.</summary>
    /// <param name="timeout">What `--lock-timeout` says, if it is given.</param>
    public LockWait LockWait(TimeSpan? timeout) => new(timeout ?? Linux.Files.LockWait.Default.Timeout) { Waiting = Tell, Cancel = Cancel };

    /// <summary>How to open the store that the command line names: no lock timeout but the default.</summary>
    public StoreOptions OptionsOf(ParseResult parsed) => StoreLocation.OptionsOf(parsed) with { Waiting = Tell, Warning = Warn, Cancel = Cancel, SpareMemory = SpareMemory };

    // What snapshots leave alone is left alone here, too.
    private static long SpareMemory()
    {
        var room = MemoryRoom.Read(Environment.ProcessId);
        return room.FreeBytes - room.KeptBytes;
    }
}

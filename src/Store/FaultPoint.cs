using System.Globalization;

namespace Crstore.Store;

/// <summary>
/// Named places where a test lets the process die: CRSTORE_FAULT=name[:n] makes the n-th pass (the first, without n) of
/// that point a SIGKILL to itself. Without the variable a point costs one comparison.
/// </summary>
internal static class FaultPoint
{
    /// <summary>All names, in the order in which a capture, then a gc and its --recompress pass them.</summary>
    public static readonly IReadOnlyList<string> Names =
    [
        "capture.crid-allocated", // the CRID is durable, nothing else is there
        "capture.registered",     // the session file is there
        "lazy.announced",         // frozen, and the next capture may build on it: the series is free
        "lazy.parent-settled",    // what it is built on is committed
        "capture.sst-written",    // an SST of frames or of patch groups is complete in incoming/; the last ones beside the next two points
        "commit.locked",          // the write lock is held, RocksDB not open yet
        "commit.opened",          // RocksDB is open for writing
        "commit.frames-ingested", // frames and patch groups are in (unless they are few), nothing refers to them
        "commit.before-write",    // just before the commit point
        "commit.written",         // just behind it: the CRID is committed, nobody was told; a large index update is owed
        "commit.index-ingested",  // nothing is owed any more
        "commit.maintained",      // flushed and compacted, RocksDB still open
        "commit.closed",          // RocksDB closed, the session not deregistered
        "memory.noted",           // in memory only: the note of it is there, it is not
        "adopt.committed",        // committed, and in memory too
        "memory.forgotten",       // not in memory any more; its note is there
        "memory.renamed",         // an empty memory store is out of sight, its files are there
        "create.directories",     // a new store: directories made
        "create.empty",           // the files of an empty database are there, RocksDB has not opened them yet
        "create.database",        // a new store: RocksDB made, no format file yet
        "forget.before-write", "forget.written",
        "gc.locked", "gc.marked", "gc.index-dropped", "gc.unlocked", "gc.sessions-over", "gc.relocked", "gc.remarked",
        "gc.before-delete", "gc.range-deleted", "gc.frames-rewritten", "gc.patches-rewritten", "gc.segments-deleted", "gc.dictionaries-deleted", "gc.before-compact", "gc.compacted",
        "gc.done",
        "recompress.packed",      // in memory, nothing changed
        "recompress.written",     // some frames or groups are replaced, and it is said how far
        "recompress.compacted",   // and what they replaced is gone
    ];

    private static int countdown;
    private static readonly string? Armed = Parse();

    /// <summary>Dies here if this point is armed.</summary>
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

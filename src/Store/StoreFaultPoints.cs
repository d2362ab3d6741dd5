namespace Crstore.Store;

/// <summary>The fault points of this room: tests/Crash dies at each of them.</summary>
internal static class StoreFaultPoints
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
        "create.empty",           // the files of an empty database are there, without the store id
        "create.database",        // a new store: database made, no format file yet
        "forget.before-write", "forget.written",
        "gc.locked", "gc.marked", "gc.index-dropped", "gc.unlocked", "gc.sessions-over", "gc.relocked", "gc.remarked",
        "gc.before-delete", "gc.range-deleted", "gc.frames-rewritten", "gc.patches-rewritten", "gc.segments-deleted", "gc.dictionaries-deleted", "gc.before-compact", "gc.compacted",
        "gc.done",
        "recompress.packed",      // in memory, nothing changed
        "recompress.written",     // some frames or groups are replaced, and it is said how far
        "recompress.compacted",   // and what they replaced is gone
    ];
}

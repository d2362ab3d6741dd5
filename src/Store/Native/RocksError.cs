using System.Runtime.InteropServices;
using Crstore.Model;
using Crstore.Store.Layout;

namespace Crstore.Store.Native;

/// <summary>Turns RocksDB's error texts into the three kinds of error that the user knows.</summary>
internal static class RocksError
{
    /// <summary>Throws if there is an error text; frees it.</summary>
    public static void Check(nint error, string path)
    {
        if (error == 0) return;
        var text = Marshal.PtrToStringUTF8(error) ?? "";
        RocksNative.rocksdb_free(error);
        throw Of(text, path);
    }

    /// <summary>The exception for a status text such as "IO error: No space left on device: While appending to file: …".</summary>
    public static CrstoreException Of(string text, string path)
    {
        if (Has(text, "No space left on device") || Has(text, "Disk quota exceeded") || Has(text, "NoSpace"))
            return new EnvironmentException($"{path}: {text}", StoreErrors.FreeSpace);
        if (Has(text, "Resource temporarily unavailable") || Has(text, "lock hold by current process"))
            return new StoreBusyException($"{path}: another process has the store open for writing: {text}");
        if (text.StartsWith("Corruption", StringComparison.Ordinal) || Has(text, "No such file or directory") || Has(text, "create_if_missing") ||
            text.StartsWith("Invalid argument: Column family", StringComparison.Ordinal) || IsUnreadable(text))
            return new StoreDamagedException($"{path}: {text}");
        return new EnvironmentException($"{path}: {text}", Has(text, "Permission denied") ? "use the store as the user who owns it"
            : Has(text, "Read-only file system") ? "the store is on a read-only file system: it can be listed and restored, not written" : null);
    }

    /// <summary>
    /// EIO of a read, "IO error: While pread offset 0 len 48: PATH: Input/output error": the disk has lost a part of the
    /// store, and the rest is to be had. That of a write says nothing of what is stored.
    /// </summary>
    private static bool IsUnreadable(string text)
    {
        const string Start = "IO error: ";
        if (!text.StartsWith(Start, StringComparison.Ordinal) || !Has(text, "Input/output error")) return false;
        var doing = text[Start.Length..].Split(':')[0];
        return (Has(doing, "read") && !Has(doing, "write")) || Has(doing, "stat a file");
    }

    private static bool Has(string text, string part) => text.Contains(part, StringComparison.OrdinalIgnoreCase);
}

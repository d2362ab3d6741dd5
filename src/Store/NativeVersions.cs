using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store;

/// <summary>Versions of the native libraries, for `doctor`. Each throws <see cref="EnvironmentException"/> if its library is missing.</summary>
public static class NativeVersions
{
    private const string RocksDbPrefix = "librocksdb.so.";

    /// <summary>zstd's, by its own word.</summary>
    public static string Zstd => ZstdCompressor.LibraryVersion;

    /// <summary>RocksDB's. Its C API does not say it (7.8): it is the suffix of the file that the loader mapped.</summary>
    public static string RocksDb
    {
        get
        {
            if (!RocksNative.IsPresent)
                throw new EnvironmentException("librocksdb.so.7.8 cannot be loaded", "apt-get install librocksdb7.8");
            foreach (var line in File.ReadLines("/proc/self/maps"))
            {
                var at = line.IndexOf(RocksDbPrefix, StringComparison.Ordinal);
                if (at >= 0) return line[(at + RocksDbPrefix.Length)..].Split(' ')[0];
            }
            return "7.8";
        }
    }
}

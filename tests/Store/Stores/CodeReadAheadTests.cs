using System.Runtime.InteropServices;
using Crstore.Linux.Memory;
using Crstore.Store;
using Crstore.Store.Native;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class CodeReadAheadTests
{
    [Fact]
    public void Libraries_that_are_loaded_are_read_ahead_once()
    {
        Assert.True(RocksNative.IsPresent);
        var ahead = new CodeReadAhead();
        ahead.Ask();
        Assert.Single(ahead.Asked, IsRocksDb);
        Assert.All(ahead.Asked, path => Assert.True(File.Exists(path), path)); // no name is cut, nothing that isn't a file
    }

    [Fact]
    public void However_much_else_is_mapped()
    {
        Assert.True(RocksNative.IsPresent);
        var memory = new MappedMemory(8 << 20, huge: false);
        using IDisposable unmapped = memory;
        for (var at = 0; at < memory.SizeBytes; at += 8192) memory.PreferHuge(at, 4096, huge: true); // a mapping each, with a line of its own
        var ahead = new CodeReadAhead();
        ahead.Ask();
        Assert.Single(ahead.Asked, IsRocksDb);
    }

    [Fact]
    public void A_library_that_can_not_be_opened_is_no_reason_to_leave_out_others()
    {
        var directory = Directory.CreateTempSubdirectory("crstore-code");
        var loaded = new List<nint>();
        try
        {
            foreach (var name in new[] { "a\n1.so", "a\n2.so" }) // the kernel writes \012
            {
                var copy = Path.Combine(directory.FullName, name);
                File.Copy(Zstd(), copy);
                loaded.Add(NativeLibrary.Load(copy));
            }

            var ahead = new CodeReadAhead();
            ahead.Ask();
            Assert.Single(ahead.Asked, path => path.EndsWith("/a\\0121.so", StringComparison.Ordinal));
            Assert.Single(ahead.Asked, path => path.EndsWith("/a\\0122.so", StringComparison.Ordinal));
        }
        finally
        {
            loaded.ForEach(NativeLibrary.Free);
            directory.Delete(recursive: true);
        }
    }

    private static bool IsRocksDb(string path) => Path.GetFileName(path).StartsWith("librocksdb.so", StringComparison.Ordinal);

    private static string Zstd()
    {
        Assert.NotEmpty(NativeVersions.Zstd); // loads it
        var ahead = new CodeReadAhead();
        ahead.Ask();
        return ahead.Asked.First(path => Path.GetFileName(path).StartsWith("libzstd.so", StringComparison.Ordinal));
    }
}

using Crstore.Linux.Memory;
using Xunit;

namespace Crstore.Tests.Linux;

public sealed class MapsParserTests
{
    [Fact]
    public void Every_field_of_a_line_is_read()
    {
        var entry = Assert.Single(Parse("7f12a0000000-7f12a0021000 rw-s 0001f000 fd:01 1234567                   /tmp/a b (deleted)\n"u8));
        Assert.Equal(new MapsEntry(0x7f12a0000000, 0x7f12a0021000, MemoryProtection.Read | MemoryProtection.Write, true, 0x1f000,
            new DeviceNumber(0xfd, 1), 1234567, "/tmp/a b (deleted)"), entry);
        Assert.True(entry.IsDeleted);
        Assert.Equal("/tmp/a b", entry.Path);
    }

    [Fact]
    public void Anonymous_memory_has_no_name_and_a_newline_in_a_path_comes_back()
    {
        var entries = Parse("1000-2000 ---p 00000000 00:00 0 \n3000-4000 r-xp 00000000 00:19 7 /x\\012y\nffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n"u8);
        Assert.Equal("", entries[0].Name);
        Assert.Equal(MemoryProtection.None, entries[0].Protection);
        Assert.Equal("/x\ny", entries[1].Path);
        Assert.Equal("[vsyscall]", entries[2].Name);
    }

    [Fact]
    public void Flags_of_smaps_go_with_their_mapping()
    {
        var entries = new List<MapsEntry>();
        var flags = new List<string>();
        new MapsParser().Parse("1000-2000 rw-p 00000000 00:00 0 \nSize:  4 kB\nVmFlags: rd wr mr dd \n2000-3000 r--p 00000000 00:00 0 \nSize: 4 kB\n"u8, entries, flags);
        Assert.Equal(["rd wr mr dd", ""], flags);
        Assert.Equal(2, entries.Count);
    }

    [Fact]
    public void A_protection_key_goes_with_the_flags()
    {
        var entries = new List<MapsEntry>();
        var flags = new List<string>();
        new MapsParser().Parse("1000-2000 rw-p 00000000 00:00 0 \nProtectionKey:         3\nVmFlags: rd wr \n2000-3000 r--p 00000000 00:00 0 \nProtectionKey:         0\nVmFlags: rd \n"u8, entries, flags);
        Assert.Equal(["rd wr pk=3", "rd"], flags);
    }

    [Theory, InlineData("garbage"), InlineData("2000-1000 rw-p 00000000 00:00 0 "), InlineData("1001-2000 rw-p 00000000 00:00 0 "),
        InlineData("1000-2000 rw-p"), InlineData("11112222333344445-2000 rw-p 00000000 00:00 0 ")]
    public void What_is_not_a_line_of_maps_is_refused(string line) =>
        Assert.Throws<FormatException>(() => Parse(System.Text.Encoding.ASCII.GetBytes(line + "\n")));

    [Fact]
    public void Our_own_maps_are_in_order_and_a_second_reading_reuses_the_names()
    {
        var parser = new MapsParser();
        var first = new List<MapsEntry>();
        parser.ReadMaps(Environment.ProcessId, first);
        var second = new List<MapsEntry>();
        parser.ReadMaps(Environment.ProcessId, second);
        Assert.True(first.Count > 20);
        Assert.Equal(first.OrderBy(e => e.Start), first);
        var library = first.First(e => e.Name.Contains("libc.so", StringComparison.Ordinal));
        Assert.Same(library.Name, second.First(e => e.Name == library.Name).Name);
    }

    private static List<MapsEntry> Parse(ReadOnlySpan<byte> text)
    {
        var entries = new List<MapsEntry>();
        new MapsParser().Parse(text, entries, null);
        return entries;
    }
}

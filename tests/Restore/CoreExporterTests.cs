using System.Buffers.Binary;
using System.Text;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Restore;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restore;

/// <summary>The bytes of a core, on made-up processes.</summary>
public class CoreExporterTests : IDisposable
{
    private const ulong Base = 0x10000;
    private const ulong P = Samples.PageSize;
    private readonly TempDir directory = new();

    public void Dispose() => directory.Dispose();

    private string Path => directory.File("core");

    private ElfReader Export(ICheckpointImage image, out ExportResult result)
    {
        result = new CoreExporter().Export(image, new ExportOptions(Path, null, Force: false), null, default);
        return new ElfReader(Path);
    }

    [Fact]
    public void Saved_pages_lie_at_their_addresses_and_absent_and_zero_ones_read_as_zeros()
    {
        using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 4), Samples.Anonymous(Base + (9 * P), 1)));
        image.SetPage(0, Base + P, Samples.Page("one"));
        image.SetZero(0, Base + (2 * P));
        image.SetPage(0, Base + (9 * P), Samples.Page("nine"));
        var core = Export(image, out var result);
        Assert.Equal(new byte[P], core.Memory(Base, (int)P));
        Assert.Equal(Samples.Page("one"), core.Memory(Base + P, (int)P));
        Assert.Equal(new byte[2 * P], core.Memory(Base + (2 * P), 2 * (int)P));
        Assert.Equal(Samples.Page("nine"), core.Memory(Base + (9 * P), (int)P));
        Assert.Equal(2 * P, result.Bytes);
        Assert.Equal([Path], result.Files);
        Assert.All(core.Loads, l => Assert.Equal(0UL, l.Offset % P));
    }

    [Fact]
    public void Protections_become_segment_flags()
    {
        using var image = new FakeImage(Samples.Process(10, Enumerable.Range(0, 8).Select(i => Samples.Anonymous(Base + ((ulong)i * 2 * P), 1, (uint)i)).ToArray()));
        var core = Export(image, out _);
        // PROT_READ 1, WRITE 2, EXEC 4 against PF_R 4, PF_W 2, PF_X 1.
        Assert.Equal([0u, 4, 2, 6, 1, 5, 3, 7], core.Loads.Select(l => l.Flags));
    }

    [Fact]
    public void Notes_stand_in_the_kernels_order_and_sizes()
    {
        var process = Samples.Process(10, Samples.Anonymous(Base, 1));
        process.Threads.Add(Samples.Thread(11, 40));
        using var image = new FakeImage(process);
        var core = Export(image, out _);
        Assert.Equal([1u, 3, 0x53494749, 6, 0x46494c45, 2, 0x202, 1, 2, 0x202], core.Notes.Select(n => n.Type));
        Assert.Equal([336, 136, 128, 16, 16, 512, 832, 336, 512, 832], core.Notes.Select(n => n.Content.Length));
        Assert.Equal("LINUX", core.Notes[6].Name);
        Assert.Equal("CORE", core.Notes[5].Name);
    }

    [Fact]
    public void A_threads_status_note_holds_its_ids_mask_pending_signals_times_and_registers()
    {
        var process = Samples.Process(10, Samples.Anonymous(Base, 1));
        var pending = new byte[256];
        pending[0] = 10;
        pending[128] = 64;
        process.Threads[0].Pending = Google.Protobuf.ByteString.CopyFrom(pending);
        using var image = new FakeImage(process);
        var note = Export(image, out _).Single(1).Content;
        Assert.Equal((1UL << 9) | (1UL << 63), BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(16)));
        Assert.Equal(0x123UL, BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(24)));
        Assert.Equal([10, 1, 10, 10], Enumerable.Range(0, 4).Select(i => BinaryPrimitives.ReadInt32LittleEndian(note.AsSpan(32 + (i * 4)))));
        Assert.Equal(2UL, BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(48)));       // 250 ticks: 2.5 s of user time
        Assert.Equal(500_000UL, BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(56)));
        Assert.Equal(1UL, BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(64)));       // 130 ticks of system time
        Assert.Equal(Enumerable.Repeat((byte)1, 216), note.AsSpan(112, 216).ToArray());
    }

    [Fact]
    public void The_process_note_holds_name_arguments_and_ids()
    {
        using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 1)));
        var note = Export(image, out _).Single(3).Content;
        Assert.Equal((byte)'S', note[1]);
        Assert.Equal(-5, (sbyte)note[3]);
        Assert.Equal(1000u, BinaryPrimitives.ReadUInt32LittleEndian(note.AsSpan(16)));
        Assert.Equal("a) (b", Encoding.ASCII.GetString(note, 40, 16).TrimEnd('\0'));
        Assert.Equal("prog arg ", Encoding.ASCII.GetString(note, 56, 80).TrimEnd('\0'));
    }

    [Fact]
    public void Mapped_files_are_named_with_their_offsets_in_pages()
    {
        var file = FileOf("lib.so", 4 * (int)P);
        using var image = new FakeImage(Samples.Process(10,
            Samples.Mapped(Base, 2, file), Samples.Anonymous(Base + (2 * P), 1), Samples.Mapped(Base + (3 * P), 1, file, 2 * P)));
        var note = Export(image, out _).Single(0x46494c45).Content;
        var numbers = Enumerable.Range(0, 8).Select(i => BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(i * 8)));
        Assert.Equal([2, P, Base, Base + (2 * P), 0, Base + (3 * P), Base + (4 * P), 2], numbers);
        Assert.Equal($"{file.Path}\0{file.Path}\0", Encoding.UTF8.GetString(note, 64, note.Length - 64));
    }

    [Fact]
    public void Of_an_untouched_read_only_mapping_only_the_first_page_is_copied_of_a_writable_one_all()
    {
        var file = FileOf("lib.so", (3 * (int)P) + 100);
        using var image = new FakeImage(Samples.Process(10,
            Samples.Mapped(Base, 3, file), Samples.Mapped(Base + (10 * P), 2, file, P), Samples.Mapped(Base + (20 * P), 2, file, 2 * P, protection: 3)));
        image.SetPage(0, Base + (20 * P), Samples.Page("modified"));
        var core = Export(image, out var result);
        Assert.Equal([P, 0, 2 * P], core.Loads.Select(l => l.FileSize));
        Assert.Equal([3 * P, 2 * P, 2 * P], core.Loads.Select(l => l.MemorySize));
        var content = File.ReadAllBytes(file.Path);
        Assert.Equal(content[..(int)P], core.Memory(Base, (int)P));
        Assert.Equal(Samples.Page("modified"), core.Memory(Base + (20 * P), (int)P));
        var tail = core.Memory(Base + (21 * P), (int)P)!;
        Assert.Equal(content[(3 * (int)P)..], tail[..100]);
        Assert.Equal(new byte[P - 100], tail[100..]);
        Assert.Empty(result.Warnings);
    }

    [Fact]
    public void A_file_that_changed_is_named_and_its_pages_are_left_out_not_guessed()
    {
        var file = FileOf("data.bin", 3 * (int)P);
        using var image = new FakeImage(Samples.Process(10, Samples.Mapped(Base, 3, file, protection: 3)));
        image.SetPage(0, Base + P, Samples.Page("ours"));
        File.SetLastWriteTimeUtc(file.Path, DateTime.UnixEpoch);
        var core = Export(image, out var result);
        var warning = Assert.Single(result.Warnings);
        Assert.Contains(file.Path, warning);
        Assert.Contains("2 pages", warning);
        Assert.Null(core.Memory(Base, (int)P));
        Assert.Null(core.Memory(Base + (2 * P), (int)P));
        Assert.Equal(Samples.Page("ours"), core.Memory(Base + P, (int)P));
        Assert.Equal(Base + P, Assert.Single(core.Loads).Address);
    }

    [Fact]
    public void Embedded_file_pages_need_no_file_and_behind_its_end_there_are_zeros()
    {
        var file = FileOf("gone.so", (int)P + 10);
        File.Delete(file.Path);
        var vma = Samples.Mapped(Base, 3, file);
        vma.Embedded = true;
        using var image = new FakeImage(Samples.Process(10, vma));
        image.SetPage(0, Base, Samples.Page("a"));
        image.SetPage(0, Base + P, Samples.Page("b"));
        var core = Export(image, out var result);
        Assert.Empty(result.Warnings);
        Assert.Equal([.. Samples.Page("a"), .. Samples.Page("b"), .. new byte[P]], core.Memory(Base, 3 * (int)P)!);
    }

    [Fact]
    public void Excluded_pages_have_no_segment()
    {
        using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 3)));
        image.SetPage(0, Base, Samples.Page("a"));
        image.SetExcluded(0, Base + P);
        image.SetPage(0, Base + (2 * P), Samples.Page("c"));
        var core = Export(image, out _);
        Assert.Equal([Base, Base + (2 * P)], core.Loads.Select(l => l.Address));
        Assert.Equal(Samples.Page("c"), core.Memory(Base + (2 * P), (int)P));
    }

    [Fact]
    public void Device_memory_has_no_segment()
    {
        var vvar = Samples.Anonymous(Base + (2 * P), 4);
        vvar.Content = VmaContent.NotCaptured;
        using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 1), vvar));
        Assert.Equal(Base, Assert.Single(Export(image, out _).Loads).Address);
    }

    [Fact]
    public void A_huge_reservation_makes_a_small_file_that_takes_no_disk_space()
    {
        using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 1UL << 32), Samples.Anonymous(Base + (P << 33), 1)));
        image.SetPage(0, Base + (5 * P), Samples.Page("five"));
        var result = new CoreExporter().Export(image, new ExportOptions(Path, null, false), null, default);
        Assert.True(new FileInfo(Path).Length < 100 * (long)P);
        Assert.Equal(P, result.Bytes);
        var core = new ElfReader(Path);
        Assert.Equal(Samples.Page("five"), core.Memory(Base + (5 * P), (int)P));
        Assert.Equal(P << 32, core.Loads[0].MemorySize);
    }

    [Fact]
    public void Seventy_thousand_mappings_are_counted_in_section_header_zero()
    {
        var vmas = Enumerable.Range(0, 70_000).Select(i => Samples.Anonymous(Base + ((ulong)i * 2 * P), 1)).ToArray();
        foreach (var vma in vmas.Skip(2))
            vma.Content = VmaContent.FileBacked; // without backing: missing, but for the header no different
        foreach (var vma in vmas.Skip(2))
            vma.Protection = 1;
        using var image = new FakeImage(Samples.Process(10, vmas));
        var core = Export(image, out _);
        Assert.Equal(70_000, core.Loads.Count);
        if (!Requires.Has("readelf"))
            return;
        var header = Run.Command("readelf", ["-h", Path]).MustSucceed().Output;
        Assert.Contains("65535 (70001)", header);
    }

    private FileRef FileOf(string name, int size)
    {
        var path = directory.File(name);
        var content = new byte[size];
        new Random(size).NextBytes(content);
        File.WriteAllBytes(path, content);
        return new Capture.State.FileRefs().Describe(path);
    }
}

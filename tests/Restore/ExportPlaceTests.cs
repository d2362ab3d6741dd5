using System.Text.Json;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Restore;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restore;

/// <summary>Where exports go, what they refuse to overwrite, and what is left when they fail.</summary>
public class ExportPlaceTests : IDisposable
{
    private const ulong Base = 0x10000;
    private readonly TempDir directory = new();

    public void Dispose() => directory.Dispose();

    private static FakeImage OneProcess()
    {
        var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 3)));
        image.SetPage(0, Base, Samples.Page("a"));
        image.SetPage(0, Base + (2 * Samples.PageSize), Samples.Page("c"));
        return image;
    }

    private static FakeImage TwoProcesses()
    {
        var second = Samples.Process(20, Samples.Anonymous(Base, 1));
        second.Space = 1;
        var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 1)), second);
        image.SetPage(0, Base, Samples.Page("ten"));
        image.SetPage(1, Base, Samples.Page("twenty"));
        return image;
    }

    private static ExportResult Export(string format, ICheckpointImage image, string path, int? pid = null, bool force = false, CancellationToken cancel = default) =>
        Exporters.All[format].Export(image, new ExportOptions(path, pid, force), null, cancel);

    [Fact]
    public void A_tree_becomes_a_directory_with_a_core_each_and_one_pid_a_file()
    {
        using var image = TwoProcesses();
        Export("core", image, directory.File("tree"));
        Assert.Equal(Samples.Page("twenty"), new ElfReader(directory.File("tree/core.20")).Memory(Base, 4096));
        Assert.Equal(Samples.Page("ten"), new ElfReader(directory.File("tree/core.10")).Memory(Base, 4096));
        Export("core", image, directory.File("single"), pid: 20);
        Assert.Equal(Samples.Page("twenty"), new ElfReader(directory.File("single")).Memory(Base, 4096));
    }

    [Fact]
    public void Only_the_owner_may_read_the_output()
    {
        using var image = TwoProcesses();
        Export("core", image, directory.File("core"));
        Export("raw", image, directory.File("raw"));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(directory.File("core")));
        foreach (var file in Directory.EnumerateFiles(directory.Path, "*", SearchOption.AllDirectories))
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
    }

    [Theory]
    [InlineData("core")]
    [InlineData("raw")]
    public void What_exists_is_kept_without_force_and_replaced_with_it(string format)
    {
        using var image = TwoProcesses();
        var path = directory.File("out");
        Export(format, image, path);
        var before = Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).First();
        File.WriteAllText(before, "mine");
        var error = Assert.Throws<UsageException>(() => Export(format, image, path));
        Assert.Contains(path, error.Message);
        Assert.Equal("mine", File.ReadAllText(before));
        Export(format, image, path, force: true);
        Assert.NotEqual("mine", File.ReadAllText(before));
        Assert.Equal([path], Directory.EnumerateFileSystemEntries(directory.Path));
    }

    [Fact]
    public void Force_replaces_a_file_by_a_file_and_a_file_by_a_directory()
    {
        using var image = OneProcess();
        var path = directory.File("out");
        File.WriteAllText(path, "old");
        Export("core", image, path, force: true);
        Assert.Equal(Samples.Page("a"), new ElfReader(path).Memory(Base, 4096));
        Export("raw", image, path, force: true);
        Assert.True(File.Exists(directory.File("out/map.json")));
        Export("core", image, path, force: true);
        Assert.Equal(Samples.Page("a"), new ElfReader(path).Memory(Base, 4096));
    }

    [Fact]
    public void Force_never_replaces_a_directory_with_something_of_the_users_in_it_nor_a_device()
    {
        using var image = OneProcess();
        var path = directory.File("home");
        Directory.CreateDirectory(path);
        File.WriteAllText(Path.Combine(path, "letter"), "dear");
        Assert.Contains("letter", Assert.Throws<UsageException>(() => Export("core", image, path, force: true)).Message);
        Assert.Equal("dear", File.ReadAllText(Path.Combine(path, "letter")));
        Assert.Throws<UsageException>(() => Export("core", image, "/dev/null", force: true));
    }

    [Fact]
    public void A_dangling_symbolic_link_counts_as_existing()
    {
        using var image = OneProcess();
        File.CreateSymbolicLink(directory.File("link"), "/nowhere/at/all");
        Assert.Throws<UsageException>(() => Export("core", image, directory.File("link")));
        Assert.Throws<UsageException>(() => Export("core", image, directory.File("link"), force: true));
    }

    [Fact]
    public void A_missing_parent_directory_is_the_users_mistake() =>
        Assert.Contains("no/such", Assert.Throws<UsageException>(() => Export("core", OneProcess(), directory.File("no/such/core"))).Message);

    [Theory]
    [InlineData("core")]
    [InlineData("raw")]
    public void A_failure_in_the_middle_leaves_nothing_and_keeps_what_was_there(string format)
    {
        using var image = TwoProcesses();
        var path = directory.File("out");
        Export(format, image, path);
        var before = Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Order().ToDictionary(f => f, File.ReadAllBytes);
        image.BeforeRead = _ => throw new StoreDamagedException("frame 3 is missing");
        Assert.Throws<StoreDamagedException>(() => Export(format, image, path, force: true));
        Assert.Throws<StoreDamagedException>(() => Export(format, image, directory.File("other")));
        Assert.Equal([path], Directory.EnumerateFileSystemEntries(directory.Path));
        Assert.All(before, f => Assert.Equal(f.Value, File.ReadAllBytes(f.Key)));
    }

    [Theory]
    [InlineData("core")]
    [InlineData("raw")]
    public void An_interrupt_leaves_nothing(string format)
    {
        using var image = TwoProcesses();
        using var cancel = new CancellationTokenSource();
        image.BeforeRead = _ => cancel.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => Export(format, image, directory.File("out"), cancel: cancel.Token));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path));
    }

    [Theory]
    [InlineData("core")]
    [InlineData("raw")]
    public void Areas_that_fill_several_windows_land_where_they_belong(string format)
    {
        // Long ones across windows, and more small ones than files may be open at a time.
        int[] sizes = [5000, .. Enumerable.Repeat(1, 2500), 3000];
        var vmas = new List<Vma>();
        var next = Base;
        foreach (var size in sizes)
        {
            vmas.Add(Samples.Anonymous(next, (ulong)size));
            next = vmas[^1].End + Samples.PageSize;
        }
        using var image = new FakeImage(Samples.Process(10, [.. vmas]));
        foreach (var vma in vmas)
            for (var at = vma.Start; at < vma.End; at += Samples.PageSize)
                if (at / Samples.PageSize % 7 != 0 || vma.End - vma.Start == Samples.PageSize) image.SetPage(0, at, Samples.Page($"{at:x}"));
        var path = directory.File("out");
        var result = Export(format, image, path);
        Assert.Equal(vmas.Aggregate(0UL, (sum, v) => sum + (ulong)Enumerable.Range(0, (int)((v.End - v.Start) / Samples.PageSize)).Count(i =>
            (v.Start / Samples.PageSize + (ulong)i) % 7 != 0 || v.End - v.Start == Samples.PageSize)) * Samples.PageSize, result.Bytes);
        var core = format == "core" ? new ElfReader(path) : null;
        foreach (var vma in vmas)
        {
            var content = core is not null ? core.Memory(vma.Start, (int)(vma.End - vma.Start))! : File.ReadAllBytes(Path.Combine(path, "10", $"{vma.Start:x}-{vma.End:x}"));
            for (var at = vma.Start; at < vma.End; at += Samples.PageSize)
            {
                var saved = at / Samples.PageSize % 7 != 0 || vma.End - vma.Start == Samples.PageSize;
                var want = saved ? Samples.Page($"{at:x}") : new byte[Samples.PageSize];
                Assert.True(content.AsSpan((int)(at - vma.Start), (int)Samples.PageSize).SequenceEqual(want), $"page {at:x}");
            }
        }
    }

    [Fact]
    public void A_full_disk_is_told_with_the_path_and_leaves_nothing()
    {
        Requires.Root();
        var mount = directory.File("small");
        Directory.CreateDirectory(mount);
        Requires.That(Run.Command("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", mount]).ExitCode == 0, "permission to mount a tmpfs");
        try
        {
            using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 100)));
            for (ulong i = 0; i < 100; i++)
                image.SetPage(0, Base + (i * Samples.PageSize), Samples.Page($"{i}"));
            var error = Assert.Throws<EnvironmentException>(() => Export("core", image, Path.Combine(mount, "core")));
            Assert.Contains(mount, error.Message);
            Assert.Empty(Directory.EnumerateFileSystemEntries(mount));
        }
        finally
        {
            Run.Command("umount", ["--lazy", mount]).MustSucceed(); // a child of another test may have our files for a moment, until its exec
        }
    }

    [Fact]
    public void Progress_counts_bytes_up_to_the_result()
    {
        using var image = OneProcess();
        var seen = new List<ulong>();
        var result = new CoreExporter().Export(image, new ExportOptions(directory.File("core"), null, false), new Sink(seen), default);
        Assert.Equal(result.Bytes, seen[^1]);
        Assert.Equal(seen.Order(), seen);
    }

    [Fact]
    public void A_pid_that_is_not_there_and_a_zombie_are_told()
    {
        var zombie = Samples.Process(20);
        zombie.Zombie = true;
        using var image = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 1)), zombie);
        Assert.Contains("99", Assert.Throws<UsageException>(() => Export("core", image, directory.File("a"), pid: 99)).Message);
        Assert.Contains("20", Assert.Throws<UsageException>(() => Export("core", image, directory.File("b"), pid: 20)).Hint!);
        var result = Export("core", image, directory.File("c"));
        Assert.Equal([directory.File("c/core.10")], result.Files);
        Assert.Contains("20", Assert.Single(result.Warnings));
    }

    [Fact]
    public void Raw_files_hold_memory_by_offset_and_the_map_says_where_each_page_came_from()
    {
        using var image = OneProcess();
        image.SetExcluded(0, Base + Samples.PageSize);
        Export("raw", image, directory.File("raw"));
        var content = File.ReadAllBytes(directory.File("raw/10/10000-13000"));
        Assert.Equal([.. Samples.Page("a"), .. new byte[4096], .. Samples.Page("c")], content);
        using var map = JsonDocument.Parse(File.ReadAllText(directory.File("raw/map.json")));
        var vma = map.RootElement.GetProperty("processes")[0].GetProperty("vmas")[0];
        Assert.Equal("10/10000-13000", vma.GetProperty("file").GetString());
        Assert.Equal(["saved", "missing", "saved"], vma.GetProperty("pages").EnumerateArray().Select(p => p.GetProperty("content").GetString()));
        Assert.Equal("0x101010101010101", map.RootElement.GetProperty("processes")[0].GetProperty("threads")[0].GetProperty("registers").GetProperty("rip").GetString());
    }

    [Fact]
    public void Senseless_mappings_in_a_manifest_are_damage_not_a_wrong_image()
    {
        foreach (var vma in new[] { Samples.Anonymous(Base + 1, 1), Samples.Anonymous(Base, 0) })
        {
            using var image = new FakeImage(Samples.Process(10, vma));
            Assert.Throws<StoreDamagedException>(() => Export("core", image, directory.File("x")));
        }
        using var overlap = new FakeImage(Samples.Process(10, Samples.Anonymous(Base, 3), Samples.Anonymous(Base + 4096, 3)));
        Assert.Throws<StoreDamagedException>(() => Export("core", overlap, directory.File("x")));
        var process = Samples.Process(10, Samples.Anonymous(Base, 1));
        process.Threads[0].Registers = Google.Protobuf.ByteString.CopyFrom(1, 2, 3);
        using var registers = new FakeImage(process);
        Assert.Throws<StoreDamagedException>(() => Export("core", registers, directory.File("x")));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path));
    }

    private sealed class Sink(List<ulong> seen) : IProgress<ulong>
    {
        public void Report(ulong value) => seen.Add(value);
    }
}

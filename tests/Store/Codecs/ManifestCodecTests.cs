using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Codec;
using Crstore.Store.Manifests;
using FsCheck.Fluent;
using Google.Protobuf;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class ManifestCodecTests
{
    private static readonly Crid Crid = new(31);
    private static readonly FormatLimits Limits = FormatLimits.Default;

    [Fact]
    public void What_was_encoded_is_decoded()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 200, seed =>
        {
            var body = Body(new Random(seed));
            Assert.Equal(body, ManifestCodec.DecodeBody(Crid, ManifestCodec.EncodeBody(body)));
            var header = Header(new Random(seed));
            Assert.Equal(header, ManifestCodec.DecodeHeader(Crid, ManifestCodec.EncodeHeader(header)));
        });
    }

    [Fact]
    public void Any_other_bytes_are_damage()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 100, seed =>
        {
            var random = new Random(seed);
            Damage.OnlyTheseBytesDecode(ManifestCodec.EncodeBody(Body(random)), random, b => ManifestCodec.DecodeBody(Crid, b));
            Damage.OnlyTheseBytesDecode(ManifestCodec.EncodeHeader(Header(random)), random, b => ManifestCodec.DecodeHeader(Crid, b));
        });
        Damage.RandomBytesAreDamage(b => ManifestCodec.DecodeBody(Crid, b));
        Damage.RandomBytesAreDamage(b => ManifestCodec.DecodeHeader(Crid, b));
    }

    [Fact]
    public void Damage_behind_a_right_checksum_is_never_another_kind_of_error()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 3000, seed =>
        {
            var random = new Random(seed);
            var bytes = ManifestCodec.EncodeBody(Body(random));
            for (var i = random.Next(20); i >= 0; i--) bytes[random.Next(2, bytes.Length - 4)] = (byte)random.Next(256);
            Seal(bytes, 'B');
            var thrown = Record.Exception(() => ManifestCodec.DecodeBody(Crid, bytes));
            Assert.True(thrown is null or StoreDamagedException, thrown?.ToString());
        });
    }

    [Fact]
    public void Another_ones_header_a_body_for_a_header_and_nothing_are_damage()
    {
        var header = ManifestCodec.EncodeHeader(Header(new Random(1)));
        var body = ManifestCodec.EncodeBody(Body(new Random(1)));
        Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeHeader(new Crid(32), header));
        Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeBody(new Crid(32), body));
        Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeBody(Crid, header));
        Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeHeader(Crid, body));
        Assert.Contains("missing", Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeHeader(Crid, [])).Message);
    }

    public static TheoryData<string, string, FormatLimits> Bounds => new()
    {
        { "processes", "processes", Limits with { MaxProcesses = 1 } },
        { "threads", "threads", Limits with { MaxThreads = 1 } },
        { "vmas", "VMAs", Limits with { MaxVmas = 1 } },
        { "fds", "file descriptors", Limits with { MaxFds = 1 } },
        { "rlimits", "rlimits", Limits with { MaxSmallList = 1 } },
        { "warnings", "warnings", Limits with { MaxNotes = 1 } },
        { "text", "cwd of 300 characters", Limits with { MaxStringChars = 299 } },
        { "blob", "environ of 300 bytes", Limits with { MaxBlobBytes = 299 } },
        { "size", "bytes", Limits with { MaxBodyBytes = 200 } },
    };

    [Theory]
    [MemberData(nameof(Bounds))]
    public void A_body_beyond_a_bound_is_neither_written_nor_read(string what, string reason, FormatLimits limits)
    {
        var body = new CheckpointBody { Crid = 31 };
        var process = new Process { Pid = 5 };
        body.Processes.Add(process);
        switch (what)
        {
            case "processes": body.Processes.Add(new Process { Space = 1 }); break;
            case "threads": process.Threads.Add([new Model.Format.Thread(), new Model.Format.Thread()]); break;
            case "vmas": process.Vmas.Add([new Vma { Start = 0x1000, End = 0x2000 }, new Vma { Start = 0x2000, End = 0x3000 }]); break;
            case "fds": process.Fds.Add([new Fd(), new Fd()]); break;
            case "rlimits": process.Rlimits.Add([new Rlimit(), new Rlimit()]); break;
            case "warnings": body.Warnings.Add(["a", "b"]); break;
            case "text": process.Cwd = new string('x', 300); break;
            default: process.Environ = ByteString.CopyFrom(new byte[300]); break;
        }

        Assert.Contains(reason, Assert.Throws<EnvironmentException>(() => ManifestCodec.EncodeBody(body, limits)).Message);
        var bytes = ManifestCodec.EncodeBody(body);
        Assert.Contains(reason, Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeBody(Crid, bytes, limits)).Message);
        ManifestCodec.DecodeBody(Crid, bytes);
    }

    [Fact]
    public void A_header_beyond_a_bound_is_neither_written_nor_read()
    {
        var header = Header(new Random(2));
        header.Series = new string('s', 100);
        var bytes = ManifestCodec.EncodeHeader(header);
        foreach (var limits in new[] { Limits with { MaxSeriesChars = 99 }, Limits with { MaxHeaderBytes = 50 } })
        {
            Assert.Throws<EnvironmentException>(() => ManifestCodec.EncodeHeader(header, limits));
            Assert.Throws<StoreDamagedException>(() => ManifestCodec.DecodeHeader(Crid, bytes, limits));
        }
    }

    [Theory]
    [InlineData(0x1000, 0x1000)]
    [InlineData(0x3000, 0x1000)]
    [InlineData(0x1001, 0x3000)]
    [InlineData(0x4000, 0x5fff)]
    [InlineData(0x1000, 0x3000)] // overlaps the one in front
    public void Impossible_VMAs_are_refused(ulong start, ulong end)
    {
        var body = new CheckpointBody { Crid = 31, Processes = { new Process { Vmas = { new Vma { Start = 0x1000, End = 0x2000 } } } } };
        ManifestCodec.EncodeBody(body);
        body.Processes[0].Vmas.Add(new Vma { Start = start, End = end });
        Assert.Throws<EnvironmentException>(() => ManifestCodec.EncodeBody(body));
    }

    [Fact]
    public void Two_processes_never_share_a_page_map()
    {
        var body = new CheckpointBody { Crid = 31, Processes = { new Process { Space = 4 }, new Process { Space = 4 } } };
        Assert.Contains("address space 4", Assert.Throws<EnvironmentException>(() => ManifestCodec.EncodeBody(body)).Message);
    }

    private static void Seal(byte[] bytes, char mark) => BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4),
        Crc32C.Of(bytes.AsSpan(0, bytes.Length - 4), Crid.Value, mark));

    private static CheckpointHeader Header(Random random) => new()
    {
        Crid = 31,
        ParentCrid = (ulong)random.Next(30),
        Series = $"series {random.Next()} ü",
        Kind = (CheckpointKind)random.Next(3),
        Tracker = (TrackerKind)random.Next(4),
        CapturedUnixNs = random.NextInt64(),
        Pages = new PageCounters { Logical = (ulong)random.NextInt64(), Fresh = 3 },
        Incomplete = random.Next(2) == 0,
    };

    private static CheckpointBody Body(Random random)
    {
        var body = new CheckpointBody { Crid = 31, Host = new Host { BootId = Guid.NewGuid().ToString() } };
        for (uint p = 0; p < random.Next(1, 4); p++)
        {
            var process = new Process { Space = p, Pid = random.Next(), Comm = $"c{random.Next()}", Environ = Bytes(random, 200) };
            ulong position = 0;
            for (var i = random.Next(10); i > 0; i--)
            {
                var start = position + (ulong)random.Next(100) * 4096;
                var end = start + (ulong)random.Next(1, 100) * 4096;
                process.Vmas.Add(new Vma { Start = start, End = end, Name = $"/lib/x{i}", VmFlags = "rd wr mr", Content = (VmaContent)random.Next(4) });
                position = end;
            }

            process.Threads.Add(new Model.Format.Thread { Tid = random.Next(), Registers = Bytes(random, 216), Xstate = Bytes(random, 900) });
            process.Fds.Add(new Fd { Number = random.Next(), Link = "pipe:[1]", Fdinfo = Bytes(random, 50) });
            body.Processes.Add(process);
        }

        return body;
    }

    private static ByteString Bytes(Random random, int most)
    {
        var bytes = new byte[random.Next(most)];
        random.NextBytes(bytes);
        return ByteString.CopyFrom(bytes);
    }
}

using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore;

/// <summary>
/// `map.json` of a raw export: what lies where. Addresses and registers are strings "0x…", since JSON numbers lose bits.
/// </summary>
internal static class RawMap
{
    internal const string FileName = "map.json";

    private const int FlushAtBytes = 1 << 20;

    // struct user_regs_struct, <sys/user.h>
    private static readonly string[] RegisterNames =
    [
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
        "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
    ];

    internal static void Write(string path, CheckpointManifest manifest, IReadOnlyList<ProcessImage> processes, CancellationToken cancel)
    {
        using var file = SparseFile.Create(path);
        using var stream = new OffsetStream(file);
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteNumber("crid", manifest.Crid.Value);
        json.WriteString("series", manifest.Header.Series);
        json.WriteNumber("captured_unix_ns", manifest.Header.CapturedUnixNs);
        json.WriteNumber("page_bytes", VirtualPage.Size);
        json.WriteStartArray("processes");
        foreach (var process in processes)
            WriteProcess(json, process, cancel);
        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
    }

    private static void WriteProcess(Utf8JsonWriter json, ProcessImage image, CancellationToken cancel)
    {
        var process = image.Process;
        json.WriteStartObject();
        json.WriteNumber("pid", process.Pid);
        json.WriteNumber("ppid", process.Ppid);
        json.WriteString("comm", process.Comm);
        json.WriteString("exe", process.Exe);
        json.WriteString("cwd", process.Cwd);
        json.WriteBase64String("cmdline_base64", process.Cmdline.Span);
        json.WriteBase64String("auxv_base64", process.Auxv.Span);
        WriteThreads(json, process);
        json.WriteStartArray("fds");
        foreach (var fd in process.Fds)
        {
            json.WriteStartObject();
            json.WriteNumber("number", fd.Number);
            json.WriteString("link", fd.Link);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("vmas");
        foreach (var vma in process.Vmas)
        {
            WriteVma(json, image, vma, cancel);
            if (json.BytesPending > FlushAtBytes)
                json.Flush();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteThreads(Utf8JsonWriter json, Process process)
    {
        json.WriteStartArray("threads");
        foreach (var thread in process.Threads)
        {
            json.WriteStartObject();
            json.WriteNumber("tid", thread.Tid);
            json.WriteString("name", thread.Name);
            json.WriteString("sigmask", Hex(thread.Sigmask));
            json.WriteStartObject("registers");
            for (var i = 0; i < RegisterNames.Length && (i + 1) * 8 <= thread.Registers.Length; i++)
                json.WriteString(RegisterNames[i], Hex(BinaryPrimitives.ReadUInt64LittleEndian(thread.Registers.Span[(i * 8)..])));
            json.WriteEndObject();
            json.WriteBase64String("xstate_base64", thread.Xstate.Span);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteVma(Utf8JsonWriter json, ProcessImage image, Vma vma, CancellationToken cancel)
    {
        json.WriteStartObject();
        json.WriteString("file", string.Create(CultureInfo.InvariantCulture, $"{image.Process.Pid}/{RawExporter.NameOf(vma)}"));
        json.WriteString("start", Hex(vma.Start));
        json.WriteString("end", Hex(vma.End));
        json.WriteString("protection", string.Concat(
            (vma.Protection & 1) != 0 ? "r" : "-", (vma.Protection & 2) != 0 ? "w" : "-", (vma.Protection & 4) != 0 ? "x" : "-", vma.Shared ? "s" : "p"));
        json.WriteString("name", vma.Name);
        json.WriteNumber("offset_bytes", vma.OffsetBytes);
        json.WriteString("vm_flags", vma.VmFlags);
        if (vma.Content == VmaContent.NotCaptured)
            json.WriteString("not_captured", vma.NotCapturedReason);
        if (vma.Backing is { } backing)
        {
            json.WriteStartObject("backing");
            json.WriteString("path", backing.Path);
            json.WriteNumber("size_bytes", backing.SizeBytes);
            json.WriteNumber("mtime_ns", backing.MtimeNs);
            json.WriteString("build_id", Convert.ToHexStringLower(backing.BuildId.Span));
            json.WriteEndObject();
        }
        json.WriteStartArray("pages");
        foreach (var run in image.Runs(vma))
        {
            cancel.ThrowIfCancellationRequested();
            json.WriteStartObject();
            json.WriteString("start", Hex(run.Range.Start.Address));
            json.WriteNumber("count", run.Range.Count);
            json.WriteString("content", run.Content switch
            {
                ImageContent.Zero => "zero",
                ImageContent.Saved => "saved",
                ImageContent.File => "file",
                _ => "missing",
            });
            json.WriteEndObject();
            if (json.BytesPending > FlushAtBytes)
                json.Flush();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    /// <summary>Appends to an output file, with its errors.</summary>
    private sealed class OffsetStream(SparseFile file) : Stream
    {
        private ulong at;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => (long)at; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            file.Write(buffer, at);
            at += (ulong)buffer.Length;
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}

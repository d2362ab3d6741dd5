using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore;

/// <summary>
/// The notes of a core: the structures of Linux' include/uapi/linux/elfcore.h for x86-64, in the order in which the kernel
/// writes them (fs/binfmt_elf.c), which debuggers count on: what belongs to a thread follows its NT_PRSTATUS.
/// </summary>
internal sealed class CoreNotes
{
    private const uint NtPrStatus = 1, NtFpRegSet = 2, NtPrPsInfo = 3, NtAuxv = 6; // elf.h
    private const uint NtX86Xstate = 0x202, NtFile = 0x46494c45, NtSigInfo = 0x53494749;
    private const int PrStatusSize = 336, PrPsInfoSize = 136, RegistersSize = 216, FxSaveSize = 512, SigInfoSize = 128;
    private const int FxSoftwareReserved = 464; // bytes the kernel leaves zero in NT_FPREGSET
    private const ulong TicksPerSecond = 100;   // USER_HZ

    private readonly ArrayBufferWriter<byte> notes = new();
    private readonly Process process;
    private readonly string subject;
    private readonly StatLine stat;

    private CoreNotes(Crid crid, Process process)
    {
        this.process = process;
        subject = $"CRID {crid}, process {process.Pid}";
        stat = ParseStat(process.Stat.Span);
    }

    /// <summary>Builds the content of the PT_NOTE segment.</summary>
    /// <exception cref="StoreDamagedException">The manifest's registers or stat lines make no sense.</exception>
    internal static byte[] Build(Crid crid, Process process)
    {
        var builder = new CoreNotes(crid, process);
        builder.Write();
        return builder.notes.WrittenSpan.ToArray();
    }

    private void Write()
    {
        for (var i = 0; i < process.Threads.Count; i++)
        {
            var thread = process.Threads[i];
            Add("CORE", NtPrStatus, PrStatus(thread));
            if (i == 0)
            {
                Add("CORE", NtPrPsInfo, PrPsInfo());
                Add("CORE", NtSigInfo, SigInfo(thread));
                Add("CORE", NtAuxv, process.Auxv.Span);
                Add("CORE", NtFile, MappedFiles());
            }
            if (thread.Xstate.Length >= FxSaveSize)
                Add("CORE", NtFpRegSet, FpRegisters(thread.Xstate.Span));
            if (thread.Xstate.Length > FxSaveSize)
                Add("LINUX", NtX86Xstate, XstateLayout.Standard(thread.Xstate.Span));
        }
    }

    private void Add(string name, uint type, ReadOnlySpan<byte> content)
    {
        var nameSize = name.Length + 1;
        var to = notes.GetSpan(12 + 8 + content.Length + 8);
        to[..(12 + 8 + content.Length + 8)].Clear();
        BinaryPrimitives.WriteInt32LittleEndian(to, nameSize);
        BinaryPrimitives.WriteInt32LittleEndian(to[4..], content.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(to[8..], type);
        Encoding.ASCII.GetBytes(name, to[12..]);
        var contentAt = 12 + Align4(nameSize);
        content.CopyTo(to[contentAt..]);
        notes.Advance(contentAt + Align4(content.Length));
    }

    // struct elf_prstatus
    private byte[] PrStatus(Model.Format.Thread thread)
    {
        if (thread.Registers.Length != RegistersSize)
            throw new StoreDamagedException($"{subject}, thread {thread.Tid}: {thread.Registers.Length} bytes of registers, expected {RegistersSize}");
        var note = new byte[PrStatusSize];
        var own = thread.Stat.IsEmpty ? stat : ParseStat(thread.Stat.Span);
        BinaryPrimitives.WriteUInt64LittleEndian(note.AsSpan(16), PendingMask(thread.Pending.Span));
        BinaryPrimitives.WriteUInt64LittleEndian(note.AsSpan(24), thread.Sigmask);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(32), thread.Tid);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(36), process.Ppid);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(40), process.Pgid);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(44), process.Sid);
        WriteTime(note.AsSpan(48), own.Time.User);
        WriteTime(note.AsSpan(64), own.Time.System);
        WriteTime(note.AsSpan(80), stat.ChildTime.User);
        WriteTime(note.AsSpan(96), stat.ChildTime.System);
        thread.Registers.Span.CopyTo(note.AsSpan(112));
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(328), thread.Xstate.Length >= FxSaveSize ? 1 : 0); // pr_fpvalid
        return note;
    }

    // struct elf_prpsinfo
    private byte[] PrPsInfo()
    {
        var note = new byte[PrPsInfoSize];
        const string states = "RSDTZW"; // the kernel's numbering of pr_state; a tracing stop counts as stopped
        var shown = stat.State is 't' ? 'T' : stat.State;
        var index = states.IndexOf(shown, StringComparison.Ordinal);
        note[0] = (byte)Math.Max(index, 0);
        note[1] = (byte)(index < 0 ? '.' : shown);
        note[2] = (byte)(process.Zombie ? 1 : 0);
        note[3] = unchecked((byte)(sbyte)stat.Nice);
        BinaryPrimitives.WriteUInt64LittleEndian(note.AsSpan(8), stat.Flags);
        BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(16), process.Credentials?.Uid.FirstOrDefault() ?? 0);
        BinaryPrimitives.WriteUInt32LittleEndian(note.AsSpan(20), process.Credentials?.Gid.FirstOrDefault() ?? 0);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(24), process.Pid);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(28), process.Ppid);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(32), process.Pgid);
        BinaryPrimitives.WriteInt32LittleEndian(note.AsSpan(36), process.Sid);
        CopyCut(Encoding.UTF8.GetBytes(process.Comm), note.AsSpan(40, 15));
        // The kernel shows the arguments with blanks between them; gdb finds the program by the first one.
        var arguments = process.Cmdline.ToByteArray();
        for (var i = 0; i < arguments.Length; i++)
        {
            if (arguments[i] == 0)
                arguments[i] = (byte)' ';
        }
        CopyCut(arguments, note.AsSpan(56, 79));
        return note;
    }

    // A siginfo of the tracing stop itself (si_code holds the ptrace event) says nothing about the program.
    private static ReadOnlySpan<byte> SigInfo(Model.Format.Thread thread)
    {
        var known = thread.Siginfo.Span;
        var isSignal = known.Length == SigInfoSize && (BinaryPrimitives.ReadInt32LittleEndian(known[8..]) >> 8) == 0;
        return isSignal ? known : new byte[SigInfoSize];
    }

    // NT_FILE: count, page size, then start, end, offset in pages of each; then the names.
    private byte[] MappedFiles()
    {
        var files = process.Vmas.Where(v => v.Inode != 0 && v.Name.StartsWith('/')).ToList();
        using var content = new MemoryStream();
        using var writer = new BinaryWriter(content);
        writer.Write((ulong)files.Count);
        writer.Write((ulong)VirtualPage.Size);
        foreach (var vma in files)
        {
            writer.Write(vma.Start);
            writer.Write(vma.End);
            writer.Write(vma.OffsetBytes / VirtualPage.Size);
        }
        foreach (var vma in files)
        {
            writer.Write(Encoding.UTF8.GetBytes(vma.Name));
            writer.Write((byte)0);
        }
        return content.ToArray();
    }

    private static byte[] FpRegisters(ReadOnlySpan<byte> xstate)
    {
        var note = xstate[..FxSaveSize].ToArray();
        note.AsSpan(FxSoftwareReserved).Clear();
        return note;
    }

    private static ulong PendingMask(ReadOnlySpan<byte> records)
    {
        ulong mask = 0;
        for (; records.Length >= SigInfoSize; records = records[SigInfoSize..])
        {
            var signal = BinaryPrimitives.ReadInt32LittleEndian(records);
            if (signal is >= 1 and <= 64)
                mask |= 1UL << (signal - 1);
        }
        return mask;
    }

    private static void WriteTime(Span<byte> to, ulong ticks)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(to, ticks / TicksPerSecond);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], ticks % TicksPerSecond * (1_000_000 / TicksPerSecond));
    }

    private static void CopyCut(ReadOnlySpan<byte> from, Span<byte> to) => from[..Math.Min(from.Length, to.Length)].CopyTo(to);

    private static int Align4(int size) => (size + 3) & ~3;

    private StatLine ParseStat(ReadOnlySpan<byte> line)
    {
        try
        {
            return StatLine.Parse(line);
        }
        catch (InvalidDataException e)
        {
            throw new StoreDamagedException($"{subject}: {e.Message}", null, e);
        }
    }
}

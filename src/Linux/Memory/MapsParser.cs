using System.Text;

namespace Crstore.Linux.Memory;

/// <summary>
/// Parses /proc/PID/maps and /proc/PID/smaps, proc(5). Made to be used again and again: the buffer and the names stay, so
/// that a second reading of a similar address space (the one in the freeze) allocates next to nothing.
/// </summary>
public sealed class MapsParser
{
    private readonly HashSet<string> _names = new(StringComparer.Ordinal) { "" };
    private readonly HashSet<string>.AlternateLookup<ReadOnlySpan<char>> _nameLookup;
    private readonly char[] _chars = new char[8192];
    private byte[] _buffer = new byte[128 * 1024];
    private string _lastName = "";

    /// <summary>An empty parser.</summary>
    public MapsParser() => _nameLookup = _names.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>Reads the maps of a process, in address order, into a list that is cleared before.</summary>
    /// <exception cref="LinuxException">The process is gone, or may not be looked at.</exception>
    public void ReadMaps(int pid, List<MapsEntry> entries)
    {
        using var file = RawFile.Open($"/proc/{pid}/maps");
        var length = RawFile.ReadWhole(file, ref _buffer);
        Parse(_buffer.AsSpan(0, length), entries, null);
    }

    /// <summary>
    /// Reads maps and VmFlags (two-letter words, space separated, and "pk=N" for a protection key but 0) together. This walks the target's page tables: milliseconds
    /// per GiB, so not for the freeze.
    /// </summary>
    /// <exception cref="LinuxException">The process is gone, or may not be looked at.</exception>
    public void ReadSmaps(int pid, List<MapsEntry> entries, List<string> vmFlags)
    {
        using var file = RawFile.Open($"/proc/{pid}/smaps");
        var length = RawFile.ReadWhole(file, ref _buffer);
        Parse(_buffer.AsSpan(0, length), entries, vmFlags);
    }

    /// <summary>Parses the text of maps, or of smaps if <paramref name="vmFlags"/> is given.</summary>
    /// <exception cref="FormatException">A line is not what proc(5) says.</exception>
    public void Parse(ReadOnlySpan<byte> text, List<MapsEntry> entries, List<string>? vmFlags)
    {
        entries.Clear();
        vmFlags?.Clear();
        ReadOnlySpan<byte> protectionKey = "0"u8;
        while (!text.IsEmpty)
        {
            var end = text.IndexOf((byte)'\n');
            var line = end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + 1)..];
            if (line.IsEmpty) continue;
            if (vmFlags is not null && line[0] is >= (byte)'A' and <= (byte)'Z')
            {
                if (line.StartsWith("ProtectionKey:"u8)) protectionKey = Trim(line[14..]);
                if (!line.StartsWith("VmFlags:"u8) || vmFlags.Count != entries.Count - 1) continue;
                var flags = Intern(Trim(line[8..]));
                vmFlags.Add(protectionKey.SequenceEqual("0"u8) ? flags : $"{flags} pk={Encoding.ASCII.GetString(protectionKey)}");
                protectionKey = "0"u8;
                continue;
            }

            while (vmFlags is not null && vmFlags.Count < entries.Count) vmFlags.Add("");
            entries.Add(ParseLine(line));
        }

        while (vmFlags is not null && vmFlags.Count < entries.Count) vmFlags.Add("");
    }

    // start-end rwxp offset major:minor inode   name
    private MapsEntry ParseLine(ReadOnlySpan<byte> line)
    {
        var at = 0;
        var start = Hex(line, ref at);
        Expect(line, ref at, (byte)'-');
        var end = Hex(line, ref at);
        Expect(line, ref at, (byte)' ');
        if (line.Length < at + 5) throw Bad(line);
        var protection = (line[at] == 'r' ? MemoryProtection.Read : 0) | (line[at + 1] == 'w' ? MemoryProtection.Write : 0)
            | (line[at + 2] == 'x' ? MemoryProtection.Execute : 0);
        var shared = line[at + 3] is (byte)'s' or (byte)'S';
        at += 4;
        Expect(line, ref at, (byte)' ');
        var offset = Hex(line, ref at);
        Expect(line, ref at, (byte)' ');
        var major = Hex(line, ref at);
        Expect(line, ref at, (byte)':');
        var minor = Hex(line, ref at);
        Expect(line, ref at, (byte)' ');
        var inode = Decimal(line, ref at);
        while (at < line.Length && line[at] == ' ') at++;
        var name = Intern(line[at..]);
        if (end <= start || ((start | end) & 0xfff) != 0) throw Bad(line);
        return new MapsEntry(start, end, protection, shared, offset, new DeviceNumber((uint)major, (uint)minor), inode, name);
    }

    private string Intern(ReadOnlySpan<byte> utf8)
    {
        if (utf8.IsEmpty) return "";
        if (utf8.Length > _chars.Length) return Encoding.UTF8.GetString(utf8);
        ReadOnlySpan<char> chars = _chars.AsSpan(0, Encoding.UTF8.GetChars(utf8, _chars));
        if (chars.SequenceEqual(_lastName)) return _lastName; // the segments of one file follow each other
        if (!_nameLookup.TryGetValue(chars, out var name))
        {
            name = chars.ToString();
            _names.Add(name);
        }

        return _lastName = name;
    }

    private static ReadOnlySpan<byte> Trim(ReadOnlySpan<byte> text) => text.Trim((byte)' ');

    private static ulong Hex(ReadOnlySpan<byte> line, ref int at)
    {
        ulong value = 0;
        var from = at;
        for (; at < line.Length; at++)
        {
            int digit = line[at] switch
            {
                >= (byte)'0' and <= (byte)'9' => line[at] - '0',
                >= (byte)'a' and <= (byte)'f' => line[at] - 'a' + 10,
                _ => -1,
            };
            if (digit < 0) break;
            value = (value << 4) | (uint)digit;
        }

        return at == from || at - from > 16 ? throw Bad(line) : value;
    }

    private static ulong Decimal(ReadOnlySpan<byte> line, ref int at)
    {
        ulong value = 0;
        var from = at;
        for (; at < line.Length && line[at] is >= (byte)'0' and <= (byte)'9'; at++) value = value * 10 + (uint)(line[at] - '0');
        return at == from || at - from > 20 ? throw Bad(line) : value;
    }

    private static void Expect(ReadOnlySpan<byte> line, ref int at, byte what)
    {
        if (at >= line.Length || line[at] != what) throw Bad(line);
        at++;
    }

    private static FormatException Bad(ReadOnlySpan<byte> line) => new($"not a line of /proc/PID/maps: {Encoding.UTF8.GetString(line)}");
}

namespace Crstore.Linux.Proc;

/// <summary>One number of /proc/PID/status, proc_pid_status(5), without taking the file apart: for the freeze.</summary>
public static class StatusNumber
{
    /// <summary>A decimal one; 0 if there is no such line.</summary>
    /// <param name="status">The file.</param>
    /// <param name="line">How its line begins, with the newline before it.</param>
    public static ulong Decimal(ReadOnlySpan<byte> status, ReadOnlySpan<byte> line) => Read(status, line, 10);

    /// <summary>A mask of signals or capabilities; 0 if there is no such line.</summary>
    /// <param name="status">The file.</param>
    /// <param name="line">How its line begins, with the newline before it.</param>
    public static ulong Hex(ReadOnlySpan<byte> status, ReadOnlySpan<byte> line) => Read(status, line, 16);

    /// <summary>How many numbers a line has; 0 if there is no such line.</summary>
    /// <param name="status">The file.</param>
    /// <param name="line">How its line begins, with the newline before it.</param>
    public static int Count(ReadOnlySpan<byte> status, ReadOnlySpan<byte> line)
    {
        var at = status.IndexOf(line);
        if (at < 0) return 0;
        var (numbers, inside) = (0, false);
        foreach (var letter in status[(at + line.Length)..])
        {
            if (letter == '\n') break;
            var digit = letter is >= (byte)'0' and <= (byte)'9';
            if (digit && !inside) numbers++;
            inside = digit;
        }

        return numbers;
    }

    private static ulong Read(ReadOnlySpan<byte> status, ReadOnlySpan<byte> line, uint radix)
    {
        var at = status.IndexOf(line);
        if (at < 0) return 0;
        var number = 0UL;
        foreach (var letter in status[(at + line.Length)..])
        {
            if (letter == '\n') break;
            var digit = letter switch
            {
                >= (byte)'0' and <= (byte)'9' => letter - (uint)'0',
                >= (byte)'a' and <= (byte)'f' => letter - (uint)'a' + 10,
                _ => radix,
            };
            if (digit < radix) number = number * radix + digit;
        }

        return number;
    }
}

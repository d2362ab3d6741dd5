using System.Globalization;
using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>/proc/PID/task/TID/syscall, proc_pid_syscall(5): the system call that a thread sleeps in.</summary>
/// <param name="Number">Of the call.</param>
/// <param name="Arguments">Six.</param>
/// <param name="StackPointer">rsp.</param>
/// <param name="ProgramCounter">rip: behind the instruction that made the call.</param>
public sealed record SyscallLine(ulong Number, IReadOnlyList<ulong> Arguments, ulong StackPointer, ulong ProgramCounter)
{
    private const int Fields = 9; // number, six arguments, stack pointer, program counter

    /// <summary>Null for a thread that runs, or sleeps outside of any call.</summary>
    public static SyscallLine? TryParse(ReadOnlySpan<byte> line)
    {
        var words = Encoding.ASCII.GetString(line).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        if (words.Length != Fields || !ulong.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out var number)) return null;
        var values = new ulong[Fields - 1];
        for (var i = 0; i < values.Length; i++)
        {
            if (!words[i + 1].StartsWith("0x", StringComparison.Ordinal)
                || !ulong.TryParse(words[i + 1].AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out values[i])) return null;
        }

        return new SyscallLine(number, values[..6], values[6], values[7]);
    }
}

using System.Globalization;
using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>
/// /proc/PID/stat or /proc/PID/task/TID/stat, proc_pid_stat(5): the fields that a process image needs, with the numbers
/// of the man page. Addresses are 0 where the kernel doesn't show them to us (ptrace access mode).
/// </summary>
public sealed record StatLine
{
    private const int FirstField = 3;
    private const int LastField = 52;

    /// <summary>1: process or thread id.</summary>
    public required int Id { get; init; }

    /// <summary>2: command name, without the parentheses; may itself hold spaces, newlines and parentheses.</summary>
    public required string Comm { get; init; }

    /// <summary>3: R, S, D, Z, T, t, X…</summary>
    public required char State { get; init; }

    /// <summary>4: parent.</summary>
    public required int Ppid { get; init; }

    /// <summary>5: process group.</summary>
    public required int Pgrp { get; init; }

    /// <summary>6: session.</summary>
    public required int Session { get; init; }

    /// <summary>Controlling terminal, in the encoding of st_rdev; 0: none.</summary>
    public required uint Terminal { get; init; }

    /// <summary>Foreground process group of that terminal; -1: none.</summary>
    public required int ForegroundGroup { get; init; }

    /// <summary>9: PF_* flags of the kernel.</summary>
    public required ulong Flags { get; init; }

    /// <summary>14, 15: own user and system time, clock ticks.</summary>
    public required (ulong User, ulong System) Time { get; init; }

    /// <summary>16, 17: the same of children that were waited for.</summary>
    public required (ulong User, ulong System) ChildTime { get; init; }

    /// <summary>19: nice, -20 to 19.</summary>
    public required int Nice { get; init; }

    /// <summary>20: threads.</summary>
    public required int Threads { get; init; }

    /// <summary>22: start after boot, clock ticks. Together with boot id and pid it names a process for ever.</summary>
    public required ulong StartTime { get; init; }

    /// <summary>26, 27, 28: start_code, end_code, start_stack.</summary>
    public required (ulong StartCode, ulong EndCode, ulong StartStack) Code { get; init; }

    /// <summary>38: signal sent to the parent at exit.</summary>
    public required int ExitSignal { get; init; }

    /// <summary>39: the processor it ran on last.</summary>
    public required int Processor { get; init; }

    /// <summary>40: real-time priority, 0 if not real-time.</summary>
    public required int RtPriority { get; init; }

    /// <summary>41: scheduling policy, sched(7).</summary>
    public required int Policy { get; init; }

    /// <summary>45, 46, 47: start_data, end_data, start_brk.</summary>
    public required (ulong StartData, ulong EndData, ulong StartBrk) Data { get; init; }

    /// <summary>48 to 51: arg_start, arg_end, env_start, env_end.</summary>
    public required (ulong ArgStart, ulong ArgEnd, ulong EnvStart, ulong EnvEnd) Arguments { get; init; }

    /// <summary>52: exit status as waitpid(2) gives it, for a zombie.</summary>
    public required int ExitCode { get; init; }

    /// <summary>Exited and not yet reaped: no memory, nothing to capture.</summary>
    public bool IsZombie => State is 'Z' or 'X' or 'x';

    /// <summary>Its group has the terminal. By the ids as they were read: whoever is outside of a pid namespace is 0 in it, and all of those look like one group.</summary>
    public bool IsInForeground => Terminal != 0 && Pgrp == ForegroundGroup;

    /// <summary>Parses the whole line.</summary>
    /// <exception cref="InvalidDataException">Not of that form, or cut short.</exception>
    public static StatLine Parse(ReadOnlySpan<byte> line)
    {
        var open = line.IndexOf((byte)'(');
        var close = line.LastIndexOf((byte)')');
        if (open < 2 || close < open)
            throw new InvalidDataException("/proc/PID/stat: no command name in parentheses");
        var text = Encoding.ASCII.GetString(line[(close + 1)..]);
        var fields = text.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        if (fields.Length < LastField - FirstField + 1 || fields[0].Length != 1)
            throw new InvalidDataException($"/proc/PID/stat: {fields.Length} fields behind the command name, expected {LastField - FirstField + 1} or more");
        var at = new Fields(fields);
        return new StatLine
        {
            Id = Fields.Int(Encoding.ASCII.GetString(line[..(open - 1)]), 1),
            Comm = Encoding.UTF8.GetString(line[(open + 1)..close]),
            State = fields[0][0],
            Ppid = at.Int(4),
            Pgrp = at.Int(5),
            Session = at.Int(6),
            Terminal = (uint)at.Int(7),
            ForegroundGroup = at.Int(8),
            Flags = at.Unsigned(9),
            Time = (at.Unsigned(14), at.Unsigned(15)),
            ChildTime = (at.Unsigned(16), at.Unsigned(17)),
            Nice = at.Int(19),
            Threads = at.Int(20),
            StartTime = at.Unsigned(22),
            Code = (at.Unsigned(26), at.Unsigned(27), at.Unsigned(28)),
            ExitSignal = at.Int(38),
            Processor = at.Int(39),
            RtPriority = at.Int(40),
            Policy = at.Int(41),
            Data = (at.Unsigned(45), at.Unsigned(46), at.Unsigned(47)),
            Arguments = (at.Unsigned(48), at.Unsigned(49), at.Unsigned(50), at.Unsigned(51)),
            ExitCode = at.Int(52),
        };
    }

    private readonly struct Fields(string[] fields)
    {
        internal int Int(int number) => Int(fields[number - FirstField], number);

        internal static int Int(string text, int number) =>
            int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
                ? value
                : throw new InvalidDataException($"/proc/PID/stat: field {number} is “{text}”, not a number");

        // cutime and cstime are printed as signed.
        internal ulong Unsigned(int number)
        {
            var text = fields[number - FirstField];
            if (ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value))
                return value;
            if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var signed))
                return (ulong)signed;
            throw new InvalidDataException($"/proc/PID/stat: field {number} is “{text}”, not a number");
        }
    }
}

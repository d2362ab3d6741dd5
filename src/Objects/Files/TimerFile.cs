using System.Buffers.Binary;
using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>timerfd_create(2): with what was left of it, and the expirations that were not read yet.</summary>
public sealed class TimerFile : IFileKind
{
    // syscall_64.tbl; timerfd_create(2): TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET, TFD_IOC_SET_TICKS; clock_gettime(2): CLOCK_REALTIME; poll(2): POLLIN.
    private const long Poll = 7, Ioctl = 16, ClockGetTime = 228, TimerfdSetTime = 286, SetTicks = 0x40085400;
    private const int Absolute = 1, CancelOnSet = 2, PollIn = 1, PatienceMs = 1000;
    private const long NsPerSecond = 1_000_000_000;

    /// <inheritdoc/>
    public string Name => "timerfd";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "clock, interval, what was left of it, expirations that were not read",
        "",
        "");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:[timerfd]";

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => State.Of(file) is null ? Verdict.Refused("its state is not known") : Verdict.Restarts;

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var handle = EventFiles.CreateTimer(State.Of(file)!.Value.Clock);
        Descriptors.SetFlags(handle, file.Info.Flags & Descriptors.SettableFlags);
        return handle;
    }

    /// <inheritdoc/>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        // Here, so that nothing of it runs out while memory is filled.
        var state = State.Of(file)!.Value;
        var fd = use.Fd.Number;
        // Run out and not read since: a periodic one stands still until then, and so counts what it has missed.
        var ranOut = state.LeftNs == 0 && state.Ticks > 0 && (state.IntervalNs > 0 || state.Ticks == 1);
        var left = ranOut ? 1 : state.LeftNs;
        if (left > 0)
        {
            var flags = 0;
            if ((state.SetFlags & CancelOnSet) != 0)
            {
                flags = Absolute | CancelOnSet;
                left += Now(process, state.Clock);
            }

            process.Queue($"timerfd_settime of {file}", TimerfdSetTime, fd, flags, (long)process.Place(Spec(state.IntervalNs, left)), 0);
        }

        if (ranOut)
        {
            Span<byte> poll = stackalloc byte[8]; // struct pollfd
            BinaryPrimitives.WriteInt32LittleEndian(poll, fd);
            BinaryPrimitives.WriteInt16LittleEndian(poll[4..], PollIn);
            process.Queue($"poll of {file}", Poll, (long)process.Place(poll), 1, PatienceMs);
        }

        if (state.Ticks == 0 || (ranOut && state.Ticks == 1)) return;
        var result = process.Call($"ioctl(TFD_IOC_SET_TICKS) of {file}", Ioctl, fd, SetTicks, (long)process.Place(BitConverter.GetBytes(state.Ticks)));
        if (result < 0) scene.Warnings.Add($"{file}: {state.Ticks} expirations that were not read are lost: this kernel was built without CONFIG_CHECKPOINT_RESTORE");
    }

    private static long Now(IProcessCalls process, int clock)
    {
        Span<byte> time = stackalloc byte[16];
        var at = process.Place(time);
        process.Call($"clock_gettime of clock {clock}", ClockGetTime, clock, (long)at);
        process.Read(at, time);
        return BinaryPrimitives.ReadInt64LittleEndian(time) * NsPerSecond + BinaryPrimitives.ReadInt64LittleEndian(time[8..]);
    }

    // struct itimerspec.
    private static byte[] Spec(long intervalNs, long valueNs)
    {
        var spec = new byte[32];
        BinaryPrimitives.WriteInt64LittleEndian(spec, intervalNs / NsPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(spec.AsSpan(8), intervalNs % NsPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(spec.AsSpan(16), valueNs / NsPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(spec.AsSpan(24), valueNs % NsPerSecond);
        return spec;
    }

    private readonly record struct State(int Clock, ulong Ticks, int SetFlags, long LeftNs, long IntervalNs)
    {
        public static State? Of(FileObject file)
        {
            var info = file.Info;
            if (!int.TryParse(info.Value("clockid"), CultureInfo.InvariantCulture, out var clock) || !ulong.TryParse(info.Value("ticks"), CultureInfo.InvariantCulture, out var ticks)
                || Time(info.Value("it_value")) is not { } left || Time(info.Value("it_interval")) is not { } interval) return null;
            return new State(clock, ticks, Convert.ToInt32(info.Value("settime flags") ?? "0", 8), left, interval);
        }

        // "(seconds, nanoseconds)". What lies beyond the range of a long is as good as its end, and the sum with a clock must fit too.
        private static long? Time(string? text)
        {
            const long farOff = long.MaxValue / 2 / NsPerSecond;
            if (text?.Trim('(', ')').Split(", ") is not [var seconds, var rest] || !long.TryParse(seconds, CultureInfo.InvariantCulture, out var s)
                || !long.TryParse(rest, CultureInfo.InvariantCulture, out var ns)) return null;
            return Math.Min(s, farOff) * NsPerSecond + ns;
        }
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Linux.Proc;

namespace Crstore.Restore.Restart;

/// <summary>
/// Whether a full-screen program has heard of a signal and looked at its window. One that comes when it is about to sleep, as every program is that was just let go, is handled but doesn't
/// end the call in which it then sleeps: it looks when somebody presses a key.
/// </summary>
internal static class Attention
{
    // Beside many others a program gets the processor late; one that computes, or doesn't take the signal, is not waited for for ever.
    private static readonly TimeSpan OfProcessor = TimeSpan.FromSeconds(1), InAll = TimeSpan.FromSeconds(10);

    /// <summary>Waits until the first thread of each process sleeps in a system call, with no SIGWINCH to be taken before.</summary>
    /// <param name="pids">The processes; one that is gone is not waited for.</param>
    public static void Await(IReadOnlyList<int> pids)
    {
        var began = Stopwatch.GetTimestamp();
        foreach (var pid in pids)
        {
            var from = Computed(pid);
            while (!IsCalm(pid) && Computed(pid) - from < OfProcessor && Stopwatch.GetElapsedTime(began) < InAll) Pause.Sleep(1000);
        }
    }

    // proc_pid_schedstat(5): nanoseconds on a processor come first.
    private static TimeSpan Computed(int pid) => TaskFile.TryReadText($"/proc/{pid}/schedstat") is { } text && long.TryParse(text.Split(' ')[0], CultureInfo.InvariantCulture, out var ns)
        ? TimeSpan.FromMicroseconds(ns / 1000d)
        : default;

    // In this order: a signal that is taken behind the first look is seen to run, or to sleep again, by the second.
    private static bool IsCalm(int pid) =>
        TaskStatusFile.Read(pid) is not { } status || status.State is 'T' or 't' or 'Z' or 'X' || (!IsPending(status) && Sleeps(pid));

    private static bool IsPending(TaskStatusFile status) =>
        ((Set(status, "SigPnd") | Set(status, "ShdPnd")) & ~Set(status, "SigBlk") & (1UL << (Signals.SIGWINCH - 1))) != 0;

    private static bool Sleeps(int pid)
    {
        try
        {
            return TaskFile.TryReadText($"/proc/{pid}/syscall") is not { } line || SyscallLine.TryParse(Encoding.ASCII.GetBytes(line)) is not null;
        }
        catch (LinuxException)
        {
            return true; // of another user by now, who may not be looked at
        }
    }

    private static ulong Set(TaskStatusFile status, string name) =>
        status[name] is { } hex ? ulong.Parse(hex, NumberStyles.HexNumber, CultureInfo.InvariantCulture) : 0;
}

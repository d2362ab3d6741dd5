using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Restore.Restart;

/// <summary>POSIX timers with the ids that they had, and what was left of them. On the ptrace thread.</summary>
internal static class TimerBuilder
{
    private const long TimerCreate = 222, TimerSetTime = 223, TimerDelete = 226;
    private const int RestoreIds = 77; // PR_TIMER_CREATE_RESTORE_IDS, prctl(2), since 6.15
    private const int SigEventSize = 64, MaxIds = 100_000;

    /// <summary>Makes all of a process.</summary>
    public static void Make(Restarted process)
    {
        var puppet = process.Leader;
        if (process.Message.PosixTimers.Count == 0) return;
        var chosen = puppet.Call("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SystemCalls.Prctl, RestoreIds, 1, 0, 0, 0) == 0;
        var next = 0;
        foreach (var timer in process.Message.PosixTimers.OrderBy(t => t.Id))
        {
            var sigevent = new byte[SigEventSize];
            BinaryPrimitives.WriteUInt64LittleEndian(sigevent, timer.Value);
            BinaryPrimitives.WriteInt32LittleEndian(sigevent.AsSpan(8), timer.Signal);
            BinaryPrimitives.WriteInt32LittleEndian(sigevent.AsSpan(12), timer.Notify);
            BinaryPrimitives.WriteInt32LittleEndian(sigevent.AsSpan(16), timer.Tid);
            // Without that call ids are given out one after the other: those in between are made and deleted again.
            for (; ; next++)
            {
                if (next > MaxIds) throw new EnvironmentException($"process {process.Message.Pid}: timer id {timer.Id} can't be had on this kernel");
                var id = puppet.Place(BitConverter.GetBytes(timer.Id));
                var result = puppet.Call($"timer_create of timer {timer.Id}", TimerCreate, timer.Clock, (long)puppet.Place(sigevent), (long)id);
                if (result < 0) throw new EnvironmentException($"process {process.Message.Pid}: timer_create of timer {timer.Id}: {Errno.Describe((int)-result)}");
                var got = new byte[sizeof(int)];
                puppet.Read(id, got);
                var number = BitConverter.ToInt32(got);
                if (number == timer.Id) break;
                puppet.Queue("timer_delete", TimerDelete, number);
                puppet.Flush();
                if (number > timer.Id) throw new EnvironmentException($"process {process.Message.Pid}: timer id {timer.Id} can't be had on this kernel");
            }

            if (timer.Remaining.Span.ContainsAnyExcept((byte)0))
                puppet.Queue($"timer_settime of timer {timer.Id}", TimerSetTime, timer.Id, 0, (long)puppet.Place(timer.Remaining.Span), 0);
        }

        if (chosen) puppet.Queue("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SystemCalls.Prctl, RestoreIds, 0, 0, 0, 0);
        puppet.Flush();
    }
}

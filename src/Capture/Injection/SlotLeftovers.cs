using System.Buffers.Binary;
using System.Diagnostics;
using Crstore.Capture.Freezing;
using Crstore.Linux;

namespace Crstore.Capture.Injection;

/// <summary>
/// Slots that a killed crstore left behind. Its threads have long run out of them, or run out while they are frozen
/// (<see cref="RunOutIfInside"/>); what remains is to prove that nobody comes back to them before they are used again.
/// </summary>
internal static class SlotLeftovers
{
    private const int StackLimit = 1 << 20, MostDoublings = 14; // 0.8 s
    private static readonly TimeSpan ShortestRun = TimeSpan.FromMicroseconds(50);

    /// <summary>
    /// For a thread that has just stopped: if it is still on its way back through a slot, lets it go on a little; <see cref="StopAgain"/> follows. True if so.
    /// A group-stopped one runs too: it heals without waiting for SIGCONT. Each time it may run twice as long: one that gets no processor before it is told to stop gets nowhere.
    /// </summary>
    /// <param name="tracee">It.</param>
    /// <param name="rip">Where it is.</param>
    /// <param name="areas">Of processes looked at before. Not longer than nobody but us can have written slots there: from the attaching to all their threads on.</param>
    public static bool RunOutIfInside(Tracee tracee, ulong rip, Dictionary<int, SlotArea?> areas)
    {
        if (!SlotArea.MayContain(tracee.Tid, rip)) return false;
        if (!areas.TryGetValue(tracee.Pid, out var area))
        {
            // By thread: the memory of a process whose leader has exited is not to be had under its own id.
            using var memory = ProcessMemory.Open(tracee.Tid);
            areas.Add(tracee.Pid, area = SlotArea.Find(memory, out _));
        }

        if (area?.Contains(rip) != true) return false;
        if (Ptrace.TryContinue(tracee.Tid) == 0) // else it is dead, and the next look tells
            tracee.RunsUntil = StopWait.DeadlineIn(ShortestRun * (1 << Math.Min(tracee.RunOuts++, MostDoublings)));
        return true;
    }

    /// <summary>Asks a thread that was let run out of a slot to stop again, when its time is over.</summary>
    public static void StopAgain(Tracee tracee)
    {
        if (tracee.RunsUntil == 0 || Stopwatch.GetTimestamp() < tracee.RunsUntil) return;
        tracee.RunsUntil = 0;
        _ = Ptrace.TryInterrupt(tracee.Tid); // ESRCH: dead, and the next look tells
    }

    /// <summary>Why the slots may not be used, or null if they are empty or nobody will ever come back to them.</summary>
    public static string? Check(FrozenProcess process, ProcessMemory memory, SlotArea area, out bool any)
    {
        any = false;
        Span<byte> content = stackalloc byte[SlotArea.Size];
        if (!memory.TryRead(area.Start, content)) return "the vDSO's padding can't be read";
        for (var slot = 0; slot < SlotArea.Count; slot++)
        {
            var owner = SlotImage.Owner(content.Slice(slot * SlotImage.Size, SlotImage.Size));
            if (owner is null) return "the vDSO's padding is in use by something else";
            any |= owner != 0;
            if (owner is > 0 and var other && other != process.Pid && TaskStatusFile.Read(other) is { TracerPid: not 0 })
                return $"it may share its memory with process {other}, which is being traced";
        }
        if (!any) return null;
        foreach (var thread in process.Threads)
        {
            var regs = Ptrace.GetRegs(thread.Tid);
            if (area.Contains(regs.Rip)) return $"thread {thread.Tid} is still in the code of a crstore that was killed";
            if (StackRefersTo(memory, area, regs.Rsp))
                return $"a signal handler of thread {thread.Tid} runs on top of the code of a crstore that was killed";
        }
        return null;
    }

    /// <summary>A signal frame above the stack pointer may hold an address in the slots; a value that only looks so does no harm.</summary>
    private static bool StackRefersTo(ProcessMemory memory, SlotArea area, ulong stackPointer)
    {
        Span<byte> page = stackalloc byte[4096];
        for (ulong at = stackPointer & ~4095UL, end = at + StackLimit; at < end; at += 4096)
        {
            if (!memory.TryRead(at, page)) return false;
            for (var i = at < stackPointer ? (int)(stackPointer - at) & ~7 : 0; i < page.Length; i += 8)
            {
                if (area.Contains(BinaryPrimitives.ReadUInt64LittleEndian(page[i..]))) return true;
            }
        }
        return false;
    }
}

using System.Buffers.Binary;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Processes;

namespace Crstore.Restore.Restart;

/// <summary>
/// Gives a process the mappings that it had: empties it, moves the vDSO to its old place, maps every VMA at its old address.
/// On the ptrace thread.
/// </summary>
/// <param name="process">It.</param>
/// <param name="mapped">What VMAs map, and the fds under which puppets have it.</param>
internal sealed class AddressSpace(Restarted process, MappedFiles mapped)
{
    // linux/mman.h: madvise(2) advice by the flag of smaps' VmFlags.
    private static readonly (string Flag, long Advice, string Name)[] Advices =
    [
        ("sr", 2, "MADV_SEQUENTIAL"), ("rr", 1, "MADV_RANDOM"), ("dc", 10, "MADV_DONTFORK"), ("mg", 12, "MADV_MERGEABLE"),
        ("hg", 14, "MADV_HUGEPAGE"), ("nh", 15, "MADV_NOHUGEPAGE"), ("dd", 16, "MADV_DONTDUMP"), ("wf", 18, "MADV_WIPEONFORK"),
    ];

    private const ulong MaxAccounted = 64 << 20;
    private const uint Write = 2;            // PROT_WRITE
    private const long GuardInstall = 102; // MADV_GUARD_INSTALL, since 6.13
    private readonly Puppet puppet = process.Leader;

    /// <summary>Empties the process, but for its workplace and the vDSO, which gets to its old place.</summary>
    public void Clear()
    {
        var now = new List<MapsEntry>();
        new MapsParser().ReadMaps(puppet.Tid, now);
        var kernels = now.Where(e => e.Name == "[vdso]" || e.Name.StartsWith("[vvar", StringComparison.Ordinal)).ToList();
        foreach (var old in now.Except(kernels))
        {
            if (old.Name == "[vsyscall]" || (old.Start <= puppet.Workplace && puppet.Workplace < old.End)) continue;
            puppet.Queue($"munmap {old.Start:x}", SystemCalls.Munmap, (long)old.Start, (long)(old.End - old.Start));
        }

        MoveVdso(kernels);
        puppet.Flush();
    }

    /// <summary>Maps everything.</summary>
    public void Map()
    {
        foreach (var vma in process.Message.Vmas.Where(v => !Mappings.IsKernels(v))) Map(vma);
        puppet.Flush();
    }

    /// <summary>After the pages are in: what would have been in their way, or would have made them.</summary>
    public void Finish()
    {
        foreach (var vma in process.Message.Vmas.Where(v => !Mappings.IsKernels(v)))
        {
            var flags = vma.VmFlags.Split(' ');
            if (WasWritable(vma)) puppet.Queue($"mprotect of {vma.Start:x}", SystemCalls.Mprotect, (long)vma.Start, (long)(vma.End - vma.Start), vma.Protection);
            foreach (var (flag, advice, name) in Advices)
                if (flags.Contains(flag)) puppet.Queue($"madvise({name}) of {vma.Start:x}", SystemCalls.Madvise, (long)vma.Start, (long)(vma.End - vma.Start), advice);
            foreach (var guard in vma.Guards)
                puppet.Queue($"madvise(MADV_GUARD_INSTALL) of {guard.Start:x}", SystemCalls.Madvise, (long)guard.Start, (long)guard.SizeBytes, GuardInstall);
            // What can't be touched can't be made present now: MLOCK_ONFAULT, mlock2(2).
            if (flags.Contains("lo")) puppet.Queue($"mlock2 of {vma.Start:x}", SystemCalls.Mlock2, (long)vma.Start, (long)(vma.End - vma.Start), vma.Protection == 0 || flags.Contains("lf") ? 1 : 0);
        }

        SetLayout();
        foreach (var vma in process.Message.Vmas.Where(v => v.VmFlags.Split(' ').Contains("sl") && !Mappings.IsKernels(v)))
            puppet.Queue($"mseal of {vma.Start:x}", SystemCalls.Mseal, (long)vma.Start, (long)(vma.End - vma.Start), 0);
        puppet.Flush();
    }

    private void Map(Vma vma)
    {
        var flags = SystemCalls.MapFixedNoReplace | (vma.Shared ? SystemCalls.MapShared : SystemCalls.MapPrivate);
        var vmFlags = vma.VmFlags.Split(' ');
        if (vmFlags.Contains("gd")) flags |= SystemCalls.MapGrowsDown;
        if (vmFlags.Contains("nr")) flags |= SystemCalls.MapNoReserve;
        var fd = mapped.FdOf(vma);
        if (fd is null) flags |= SystemCalls.MapAnonymous;
        var what = $"mmap of {vma.Start:x}-{vma.End:x} {vma.Name}";
        puppet.Queue(what, SystemCalls.Mmap, (long)vma.Start, (long)(vma.End - vma.Start), WasWritable(vma) ? vma.Protection | Write : vma.Protection, flags, fd ?? -1, fd is null ? 0 : (long)vma.OffsetBytes);
    }

    // "ac", VM_ACCOUNT: it was writable once, as the part of a library that is protected after relocation, and counts as memory that may be needed.
    // A large reservation could not be had writable as a whole: that it counts is given up.
    private static bool WasWritable(Vma vma) => !vma.Shared && vma.End - vma.Start <= MaxAccounted && (vma.Protection & Write) == 0 && vma.VmFlags.Split(' ').Contains("ac");

    private void MoveVdso(List<MapsEntry> now)
    {
        var then = process.Message.Vmas.Where(v => v.Name == "[vdso]" || v.Name.StartsWith("[vvar", StringComparison.Ordinal)).ToList();
        if (then.Count == 0)
        {
            foreach (var entry in now) puppet.Queue("munmap of the vDSO", SystemCalls.Munmap, (long)entry.Start, (long)(entry.End - entry.Start));
            return;
        }

        var same = now.Count == then.Count;
        for (var i = 0; same && i < now.Count; i++)
            same = now[i].Name == then[i].Name && now[i].End - now[i].Start == then[i].End - then[i].Start && now[i].Start - now[0].Start == then[i].Start - then[0].Start;
        if (!same)
            throw new EnvironmentException($"process {process.Message.Pid}: this kernel's vDSO is another one than that of the capture", "restart it on the kernel that it was captured on");
        if (now[0].Start == then[0].Start) return;
        // Over the old place, if both overlap, by way of a third one.
        var size = now[^1].End - now[0].Start;
        var overlap = now[0].Start < then[0].Start + size && then[0].Start < now[0].Start + size;
        if (overlap) Move(now, mapped.FreePlace(size));
        else Move(now, then[0].Start);
        if (overlap) Move([.. now.Select(e => e with { Start = e.Start - now[0].Start + mapped.FreePlace(size), End = e.End - now[0].Start + mapped.FreePlace(size) })], then[0].Start);
    }

    private void Move(List<MapsEntry> entries, ulong to)
    {
        foreach (var entry in entries)
        {
            var size = (long)(entry.End - entry.Start);
            puppet.Queue($"mremap of {entry.Name}", SystemCalls.Mremap, (long)entry.Start, size, size, SystemCalls.RemapMayMove | SystemCalls.RemapFixed,
                (long)(to + (entry.Start - entries[0].Start)));
        }
    }

    // struct prctl_mm_map, linux/prctl.h: 11 addresses of the layout, auxv and its size, exe_fd.
    private void SetLayout()
    {
        const int size = 104;
        var layout = process.Message.Layout;
        var map = new byte[size];
        ReadOnlySpan<ulong> addresses =
        [
            layout.StartCode, layout.EndCode, layout.StartData, layout.EndData, layout.StartBrk, layout.Brk != 0 ? layout.Brk : layout.StartBrk, layout.StartStack,
            layout.ArgStart, layout.ArgEnd, layout.EnvStart, layout.EnvEnd,
        ];
        for (var i = 0; i < addresses.Length; i++) BinaryPrimitives.WriteUInt64LittleEndian(map.AsSpan(i * 8), addresses[i]);
        BinaryPrimitives.WriteUInt64LittleEndian(map.AsSpan(88), puppet.Place(process.Message.Auxv.Span));
        BinaryPrimitives.WriteUInt32LittleEndian(map.AsSpan(96), (uint)process.Message.Auxv.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(map.AsSpan(100), (uint)mapped.ExeFd(process.Message));
        puppet.Queue("prctl(PR_SET_MM_MAP)", SystemCalls.Prctl, SystemCalls.PrSetMm, SystemCalls.PrSetMmMap, (long)puppet.Place(map), size);
    }
}

using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>Decides what a VMA's content is and how it is read: docs/ARCHITECTURE.md, "Page maps and pages".</summary>
public sealed class VmaClassifier(FileCatalog files, bool embedFiles, bool honourDontDump)
{
    /// <summary>Classifies one mapping.</summary>
    /// <param name="entry">The maps line.</param>
    /// <param name="vmFlags">Its VmFlags; empty if unknown.</param>
    public PlannedVma Classify(in MapsEntry entry, string vmFlags)
    {
        if (entry.Name is "[vvar]" or "[vvar_vclock]" or "[vsyscall]")
            return Skip(entry, vmFlags, null, $"{entry.Name}: written by the kernel, no part of an image");
        if (entry.Name is "[vdso]") return Save(entry, vmFlags, null, ReadPolicy.Everything);
        var file = entry.Inode == 0 ? null : files.Find(entry);
        if (HasFlag(vmFlags, "io")) return Skip(entry, vmFlags, file, "VM_IO: device memory");
        if (HasFlag(vmFlags, "pf")) return Skip(entry, vmFlags, file, "VM_PFNMAP: device memory");
        if (HasFlag(vmFlags, "ht") || file is { IsHugetlb: true })
            return Save(entry, vmFlags, file, entry.Shared ? ReadPolicy.SharedData : ReadPolicy.Populated);
        if (entry.Shared) return ClassifyShared(entry, vmFlags, file);
        if (file is null) return Save(entry, vmFlags, null, ReadPolicy.Populated, trackable: true);
        // Other drivers than that of /dev/zero may write to the pages that they gave out.
        if (file.Status is { IsRegular: false } device)
            return Save(entry, vmFlags, file, ReadPolicy.Populated, trackable: device.Rdev == FileStatus.MakeDev(1, 5));
        if (!file.SameAtPath) return Save(entry, vmFlags, file, ReadPolicy.Everything);
        if (embedFiles) return Reference(entry, vmFlags, file, ReadPolicy.Everything);
        return Reference(entry, vmFlags, file, ReadPolicy.Modified, trackable: true);
    }

    /// <summary>True if smaps must be read to classify this mapping: it could be device memory, or be marked MADV_DONTDUMP.</summary>
    public bool NeedsFlags(in MapsEntry entry) =>
        honourDontDump || (entry.Inode != 0 && files.Find(entry) is { Status: not { IsRegular: true } });

    /// <summary>True if the two-letter word is among the flags.</summary>
    public static bool HasFlag(string vmFlags, string flag)
    {
        for (var i = 0; i + 1 < vmFlags.Length; i += 3)
            if (vmFlags[i] == flag[0] && vmFlags[i + 1] == flag[1])
                return true;
        return false;
    }

    // A page of shared memory can change through another mapping or by pwrite, unseen by any tracker: always read.
    private PlannedVma ClassifyShared(in MapsEntry entry, string vmFlags, MappedFile? file)
    {
        var writable = (entry.Protection & MemoryProtection.Write) != 0;
        var isPlainFile = file is { SameAtPath: true, IsShmem: false, Status.IsRegular: true };
        if (writable || !isPlainFile) return Save(entry, vmFlags, file, ReadPolicy.SharedData);
        return Reference(entry, vmFlags, file!, embedFiles ? ReadPolicy.Everything : ReadPolicy.Nothing);
    }

    private PlannedVma Save(in MapsEntry entry, string vmFlags, MappedFile? file, ReadPolicy policy, bool trackable = false) => new()
    {
        Entry = entry,
        VmFlags = vmFlags,
        Content = VmaContent.Saved,
        Policy = policy,
        File = file,
        Trackable = trackable,
        LeaveOut = LeaveOut(vmFlags),
    };

    private PlannedVma Reference(in MapsEntry entry, string vmFlags, MappedFile file, ReadPolicy policy, bool trackable = false) => new()
    {
        Entry = entry,
        VmFlags = vmFlags,
        Content = VmaContent.FileBacked,
        Policy = policy,
        File = file,
        Trackable = trackable,
        Embedded = policy == ReadPolicy.Everything,
        LeaveOut = LeaveOut(vmFlags),
    };

    private static PlannedVma Skip(in MapsEntry entry, string vmFlags, MappedFile? file, string reason) => new()
    {
        Entry = entry,
        VmFlags = vmFlags,
        Content = VmaContent.NotCaptured,
        Policy = ReadPolicy.Nothing,
        File = file,
        Reason = reason,
    };

    private bool LeaveOut(string vmFlags) => honourDontDump && HasFlag(vmFlags, "dd");
}

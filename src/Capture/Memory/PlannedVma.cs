using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>Which pages of a VMA are content.</summary>
public enum ReadPolicy
{
    /// <summary>None.</summary>
    Nothing,

    /// <summary>Every populated page (private anonymous memory).</summary>
    Populated,

    /// <summary>The pages that no longer are the file's (private file mapping).</summary>
    Modified,

    /// <summary>Every page up to the end of the file.</summary>
    Everything,

    /// <summary>Every page that the shared memory object has data for, whoever wrote it.</summary>
    SharedData,
}

/// <summary>One VMA as the capture sees it: the maps line and what to do with it.</summary>
public sealed class PlannedVma
{
    /// <summary>The maps line, as of the freeze.</summary>
    public required MapsEntry Entry { get; init; }

    /// <summary>VmFlags of smaps; empty if they were never seen.</summary>
    public required string VmFlags { get; set; }

    /// <summary>Content class for the manifest.</summary>
    public required VmaContent Content { get; init; }

    /// <summary>Which pages are read.</summary>
    public required ReadPolicy Policy { get; init; }

    /// <summary>Why it is not captured; empty if it is.</summary>
    public string Reason { get; init; } = "";

    /// <summary>The mapped file; null for anonymous memory.</summary>
    public MappedFile? File { get; init; }

    /// <summary>--embed-files: unmodified file pages are saved as well.</summary>
    public bool Embedded { get; init; }

    /// <summary>MADV_DONTDUMP and asked to honour it: the content is left out.</summary>
    public bool LeaveOut { get; init; }

    /// <summary>A tracker may vouch for its pages: private memory of 4 KiB or transparent huge pages.</summary>
    public bool Trackable { get; init; }

    /// <summary>Set by the tracker: it will vouch for this VMA next time.</summary>
    public bool Tracked { get; set; }

    /// <summary>Set by the tracker in the freeze: it has watched this VMA up to now.</summary>
    public bool Watched { get; set; }

    /// <summary>Its pages.</summary>
    public PageRange Range => PageRange.OfAddresses(Entry.Start, Entry.End);

    /// <summary>process_vm_readv refuses areas without PROT_READ.</summary>
    public bool Readable => (Entry.Protection & MemoryProtection.Read) != 0;

    /// <summary>The message for the manifest.</summary>
    public Vma ToMessage()
    {
        var vma = new Vma
        {
            Start = Entry.Start,
            End = Entry.End,
            Protection = (uint)Entry.Protection,
            Shared = Entry.Shared,
            OffsetBytes = Entry.OffsetBytes,
            DevMajor = Entry.Device.Major,
            DevMinor = Entry.Device.Minor,
            Inode = Entry.Inode,
            Name = Entry.Name,
            VmFlags = VmFlags,
            Content = Content,
            Tracked = Tracked,
            NotCapturedReason = Reason,
            Embedded = Embedded,
        };
        // A restart maps what is shared, too, from the file that it came from.
        if (File is not null && (Content == VmaContent.FileBacked || Entry.Shared)) vma.Backing = File.ToReference();
        return vma;
    }
}

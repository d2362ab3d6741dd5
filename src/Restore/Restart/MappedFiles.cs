using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;
using Crstore.Objects.Memory;
using Crstore.Objects.Processes;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>
/// What the VMAs of a checkpoint map: files, which must be the ones that were captured, and shared memory, made anew once for
/// all processes that share it. Puppets inherit them.
/// </summary>
internal sealed class MappedFiles : IDisposable
{
    private const int Write = 2; // PROT_WRITE
    private readonly RestartScene scene;
    private readonly CheckpointBody body;
    private readonly Inheritance inheritance;
    private readonly FileBackings backings;
    private readonly Dictionary<(ulong Dev, ulong Inode), SharedMemory> shared = [];
    private readonly Dictionary<Vma, int> fds = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<string, int> opened = [];
    private readonly Dictionary<int, int> exes = [];
    private readonly List<SafeFileHandle> handles = [];

    /// <summary>Opens everything.</summary>
    /// <exception cref="CrstoreException">Something can't be had; names it.</exception>
    public MappedFiles(RestartScene scene, Inheritance inheritance)
    {
        (this.scene, body, backings, this.inheritance) = (scene, scene.Body, scene.MappedFiles, inheritance);
        foreach (var process in body.Processes.Where(p => !p.Zombie))
        {
            exes.Add(process.Pid, Open(process.ExeFile.Path, false, process.ExeFile, $"the program of process {process.Pid}"));
            foreach (var vma in process.Vmas.Where(v => !Mappings.IsKernels(v))) Prepare(process, vma);
        }
    }

    /// <summary>The files, as far as they are still what they were.</summary>
    public FileBackings Backings => backings;

    /// <summary>Shared memory, to be filled.</summary>
    public Dictionary<(ulong Dev, ulong Inode), SharedMemory>.ValueCollection Shared => shared.Values;

    /// <summary>The fd in the puppets; null for anonymous memory.</summary>
    public int? FdOf(Vma vma) => fds.TryGetValue(vma, out var fd) ? fd : null;

    /// <summary>The program's fd in the puppets.</summary>
    public int ExeFd(Process process) => exes[process.Pid];

    /// <summary>True if what is mapped is shared memory, filled for all at once.</summary>
    public bool IsSharedMemory(Vma vma) => vma.Shared && shared.ContainsKey((Device(vma), vma.Inode));

    /// <summary>A place that no process of the checkpoint uses, below 2 GiB; the same one for every call with that size.</summary>
    /// <param name="size">In bytes.</param>
    public ulong FreePlace(ulong size) => FreePlaces(body, size, 3)[2];

    /// <summary>Places that no process of a checkpoint uses, below 2 GiB, far from what the kernel gives to a new process.</summary>
    public static ulong[] FreePlaces(CheckpointBody body, ulong size, int count)
    {
        const ulong first = 0x1000_0000, end = 0x7f00_0000, step = 0x10_0000;
        var found = new List<ulong>();
        for (var at = first; at < end && found.Count < count; at += step)
        {
            // A margin, for what grows down or up.
            var (from, to) = (at - step, at + size + step);
            if (!body.Processes.Any(p => p.Vmas.Any(v => v.Start < to && from < v.End))) found.Add(at);
        }

        return found.Count == count ? [.. found] : throw new EnvironmentException("the processes leave no room for crstore's own code below 2 GiB");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var handle in handles) handle.Dispose();
        foreach (var memory in shared.Values) memory.Dispose();
    }

    private void Prepare(Process process, Vma vma)
    {
        if (vma.Content == VmaContent.NotCaptured)
            throw new TargetException($"process {process.Pid}: the mapping {vma.Start:x}-{vma.End:x} {vma.Name} was not captured ({vma.NotCapturedReason})");
        if (vma.Inode == 0 || Mappings.IsNameServiceCache(vma)) return; // anonymous
        var named = vma.Backing is { Deleted: false, Inode: not 0 } && !(Mappings.IsPerformanceData(vma) && (scene.NewPids || backings.Open(vma.Backing) is null));
        if (vma.Content == VmaContent.FileBacked || (vma.Shared && named && !IsMemory(vma.Backing)))
        {
            // Embedded pages stand for themselves: a file that is gone is then no obstacle.
            if (vma.Embedded && backings.Open(vma.Backing) is null)
            {
                if (vma.Shared) throw new TargetException($"process {process.Pid}: {vma.Backing.Path}, which it shares, is not the same any more");
                return;
            }

            fds.Add(vma, Open(vma.Backing.Path, vma.Shared && MayWrite(vma), vma.Backing, $"process {process.Pid} maps {vma.Name}"));
            return;
        }

        if (!vma.Shared) return; // a deleted file's private mapping: all its pages are in the image
        var key = (Device(vma), vma.Inode);
        if (!shared.TryGetValue(key, out var memory))
        {
            memory = named
                ? new SharedMemory(OpenSame(vma.Backing, $"process {process.Pid} maps {vma.Name}"), vma.Backing.SizeBytes)
                : new SharedMemory(UnnamedFiles.Get(scene, key.Item1, key.Inode, vma.Name), UnnamedFiles.SizeOf(scene, key.Item1, key.Inode));
            shared.Add(key, memory);
        }

        memory.Add(process, vma);
        // Sealed memory can be mapped for reading only, and for ever: by an fd of that kind.
        fds.Add(vma, memory.FdFor(vma.VmFlags.Length == 0 || MayWrite(vma), inheritance));
    }

    /// <summary>When the content is in: what was rounded up to pages gets its size again.</summary>
    public void Trim()
    {
        foreach (var memory in shared.Values) memory.Trim();
    }

    // tmpfs: what it holds is memory, of the moment of the capture, as that of memory without a name.
    private static bool IsMemory(FileRef file) => RawFile.FileSystemType(file.Path) == RawFile.TmpfsMagic;

    // "mw": VM_MAYWRITE, the file was opened for writing.
    private static bool MayWrite(Vma vma) => (vma.Protection & Write) != 0 || vma.VmFlags.Split(' ').Contains("mw");

    private static ulong Device(Vma vma) => FileStatus.MakeDev(vma.DevMajor, vma.DevMinor);

    private int Open(string path, bool write, FileRef reference, string who)
    {
        var key = write ? "w" + path : "r" + path;
        if (opened.TryGetValue(key, out var known)) return known;
        SafeFileHandle handle;
        if (write)
        {
            handle = OpenSame(reference, who);
        }
        else
        {
            handle = backings.Open(reference) ?? throw new TargetException($"{who}: {path} {backings.WhyNot(reference)}",
                "a restart needs the very files that were mapped; `capture --embed-files` saves them too");
        }

        var fd = inheritance.Add(handle);
        opened.Add(key, fd);
        return fd;
    }

    // What others see of a shared file is the file's business: it need not be as it was, only the same file.
    private SafeFileHandle OpenSame(FileRef reference, string who)
    {
        var now = FileStatus.TryOf(reference.Path, out var status) == 0 ? status : default;
        if (now.Dev != reference.Dev || now.Inode != reference.Inode) throw new TargetException($"{who}: {reference.Path} is not the same file any more");
        var handle = Guard(() => RawFile.Open(reference.Path, RawOpen.ReadWrite), who);
        handles.Add(handle);
        return handle;
    }

    private static SafeFileHandle Guard(Func<SafeFileHandle> open, string who)
    {
        try
        {
            return open();
        }
        catch (LinuxException e)
        {
            throw new EnvironmentException($"{who}: {e.Message}", null, e);
        }
    }
}

/// <summary>Memory that processes share: anonymous, memfd, a deleted file, a file of a tmpfs.</summary>
/// <param name="handle">Of crstore; stays the caller's.</param>
/// <param name="exactBytes">Its size; null: whole pages, as far as it is mapped.</param>
internal sealed class SharedMemory(SafeFileHandle handle, ulong? exactBytes) : IDisposable
{
    private int? writable;
    private int? readOnly;
    private SafeFileHandle? reading;
    private ulong sizeBytes;

    /// <summary>Of crstore.</summary>
    public SafeFileHandle Handle => handle;

    /// <summary>Who maps which part of it.</summary>
    public List<(Process Process, Vma Vma)> Mappings { get; } = [];

    /// <summary>The fd in the puppets.</summary>
    public int FdFor(bool write, Inheritance inheritance) => write
        ? writable ??= inheritance.Add(handle)
        : readOnly ??= inheritance.Add(reading = Descriptors.OpenAgain(handle, 0));

    /// <summary>A mapping of it.</summary>
    public void Add(Process process, Vma vma)
    {
        Mappings.Add((process, vma));
        var end = vma.OffsetBytes + (vma.End - vma.Start);
        if (exactBytes is not null || end <= sizeBytes) return;
        sizeBytes = end;
        FileCalls.SetLength(handle, (long)end, string.Create(CultureInfo.InvariantCulture, $"shared memory of {end} bytes"));
    }

    /// <summary>Gives it its size, which the last page that was written may have gone beyond.</summary>
    public void Trim()
    {
        if (exactBytes is { } size) FileCalls.SetLength(handle, (long)size, string.Create(CultureInfo.InvariantCulture, $"shared memory of {size} bytes"));
    }

    /// <summary>Closes what it has opened.</summary>
    public void Dispose() => reading?.Dispose();
}

using System.Globalization;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>pidfd_open(2): of a process that is in the checkpoint too.</summary>
public sealed class ProcessFile : IFileKind
{
    private const long PidfdOpen = 434; // syscall_64.tbl
    private const int NonBlock = 0x800, Thread = 0x80; // PIDFD_NONBLOCK, PIDFD_THREAD: O_EXCL, pidfd_open(2)

    /// <inheritdoc/>
    public string Name => "pidfd";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "of a process in the checkpoint",
        "",
        "of other processes, of one that has ended, of a thread");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:[pidfd]" || fd.Link.StartsWith("pidfd:[", StringComparison.Ordinal);

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (Recorded(file) <= 0) return Verdict.Refused("the process that it stands for has ended");
        var pid = ProcessOf(file, scene);
        if (scene.Body.Processes.All(p => p.Pid != pid)) return Verdict.Refused($"it stands for process {Recorded(file)}, which is not in the checkpoint");
        return Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => null; // there is no such process yet

    /// <inheritdoc/>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        // One for each process that has it: what they would share are its flags.
        foreach (var uses in file.Uses.GroupBy(u => u.Process.Pid))
        {
            var calls = scene.CallsOf(uses.Key);
            var opened = calls.Call($"pidfd_open of {file}", PidfdOpen, ProcessOf(file, scene), file.Info.Flags & (NonBlock | Thread));
            OpenedInProcess.Place(file, uses, calls, OpenedInProcess.Checked(file, opened));
        }
    }

    private static int ProcessOf(FileObject file, RestartScene scene) => scene.Ids.Of(Recorded(file));

    private static int Recorded(FileObject file) => int.TryParse(file.Info.Value("Pid"), CultureInfo.InvariantCulture, out var pid) ? pid : -1;
}

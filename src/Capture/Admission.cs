using System.Diagnostics;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Objects;
using Crstore.Objects.Files;

namespace Crstore.Capture;

/// <summary>
/// What would refuse a capture and can be seen before there is one: so a plain refusal makes no store and uses no CRID. The capture itself
/// looks again at all of it, for a process may change at any time.
/// </summary>
public static class Admission
{
    /// <summary>Who the target is, and whether it may be captured by this user.</summary>
    /// <exception cref="TargetException">Gone, a zombie, a thread, a kernel thread, crstore itself, traced, 32-bit, or access is refused.</exception>
    public static void CheckAccess(int pid)
    {
        FrozenTree.CheckRoot(pid);
        if (TargetErrors.NoMemory(pid) is { } kernelThread) throw kernelThread;
        // What ptrace asks is asked for this file, too: ptrace(2), "Ptrace access mode checking".
        var path = $"/proc/{pid}/mem";
        var errno = RawFile.TryOpen(path, RawOpen.ReadOnly, 0, out var memory);
        memory?.Dispose();
        if (errno != 0) throw TargetErrors.BeforeAll(new LinuxException("open", errno, path), pid);
        // Another capture has it for a moment only, and is waited for.
        if (TaskStatusFile.Read(pid) is { TracerPid: not 0 and var tracer } && TaskStat.Read(TargetErrors.ProcessOf(tracer))?.Name != TaskStat.Read(Environment.ProcessId)?.Name
            && TargetErrors.Refused(pid, pid, Errno.EPERM) is { } traced) throw traced;
        if (pid == Environment.ProcessId) throw TargetErrors.Itself(pid, pid);
        if (RunsElf32(pid)) throw TargetErrors.Is32Bit(pid, pid);
    }

    /// <summary>
    /// What the target has that the options refuse: connections (`--tcp wait` waits here already), and what could not be restarted. Not where a hook
    /// may still do something about it.
    /// </summary>
    /// <returns>The options for the capture: what is left of the patience.</returns>
    /// <exception cref="TargetException">Refused.</exception>
    public static CaptureOptions CheckState(CaptureOptions options, CancellationToken cancel)
    {
        if (options.Tcp == TcpPolicy.Wait)
        {
            var began = Stopwatch.GetTimestamp();
            new TcpConnections(options).AwaitNone(cancel);
            var left = options.TcpPatience - Stopwatch.GetElapsedTime(began);
            options = options with { TcpPatience = left > TimeSpan.Zero ? left : TimeSpan.Zero };
        }

        // Where policies make something of what the preview, which knows of none, refuses, only the capture can tell.
        if (options is { RequireRestartable: true, Tcp: TcpPolicy.Refuse, WithFiles: false, EmbedFiles: false })
            RequireRestartable(new CheckpointManifest(new() { Command = TaskStat.Read(options.Pid)?.Name ?? "it" }, StatePreview.Read(options.Pid, options.Tree, options.LockWait, options.MaxFrozen)));
        return options;
    }

    /// <summary>Refuses what could not be restarted.</summary>
    /// <exception cref="TargetException">With the list.</exception>
    internal static void RequireRestartable(CheckpointManifest manifest)
    {
        using var scene = new RestartScene(manifest.Body) { JustCaptured = true };
        var obstacles = Verdicts.Obstacles(scene);
        if (obstacles.Count > 0)
            throw new TargetException($"{manifest.Header.Command} could not be restarted, and nothing was saved: {string.Join("; ", obstacles)}",
                "without --require-restartable it is captured all the same, for cores and raw images");
    }

    // EI_CLASS of the program's file, elf(5); the freeze looks at what each thread runs.
    private static bool RunsElf32(int pid)
    {
        if (RawFile.TryOpen($"/proc/{pid}/exe", RawOpen.ReadOnly, 0, out var program) != 0) return false;
        using (program)
        {
            var head = new byte[5];
            return RawFile.TryReadAt(program!, head, 0) == head.Length && head.AsSpan().SequenceEqual("\u007fELF\u0001"u8);
        }
    }
}

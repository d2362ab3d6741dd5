using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>The open files of a checkpoint: made anew in crstore, inherited by all puppets, and put to the fds of each process.</summary>
internal sealed class FileTable : IDisposable
{
    private const long CloseOnExec = 0x80000; // O_CLOEXEC, dup3(2)
    private readonly RestartScene scene;
    private readonly Dictionary<uint, int> numbers = [];
    private readonly List<SafeFileHandle> handles = [];
    private readonly Dictionary<int, (int Number, int Foreground)> terminals = [];

    /// <summary>Opens all of them.</summary>
    /// <exception cref="CrstoreException">One can't be; names it.</exception>
    public FileTable(RestartScene scene, Inheritance inheritance)
    {
        this.scene = scene;
        try
        {
            foreach (var file in scene.Files)
            {
                if (Open(file) is not { } handle) continue;
                handles.Add(handle);
                numbers.Add(file.Record.Id, inheritance.Add(handle));
            }

            foreach (var process in scene.Body.Processes.Where(p => !p.Zombie))
            {
                if (PseudoTerminal.ControllingOf(process, scene) is { } terminal)
                    terminals.Add(process.Pid, (inheritance.Add(terminal.Slave), terminal.Foreground));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Gives the leader of a new session the terminal that it had, if that is one of the checkpoint. What is born to it from then on has it too.</summary>
    public void LeadSession(Process leader, Puppet puppet)
    {
        if (terminals.TryGetValue(leader.Pid, out var terminal)) puppet.Queue("ioctl(TIOCSCTTY)", SystemCalls.Ioctl, terminal.Number, SystemCalls.SetControllingTerminal, 0);
    }

    /// <summary>Puts a process's files to their fds. Those inherited stay open, above all others.</summary>
    public void Place(Restarted process, int firstInherited)
    {
        var puppet = process.Leader;
        puppet.Queue("close_range", SystemCalls.CloseRange, 0, firstInherited - 1, 0);
        foreach (var fd in process.Message.Fds)
        {
            if (!numbers.TryGetValue(fd.OpenFile, out var number)) continue;
            puppet.Queue($"dup3 to fd {fd.Number}", SystemCalls.Dup3, number, fd.Number, FdInfo.Parse(fd.Fdinfo.Span).CloseOnExec ? CloseOnExec : 0);
        }

        puppet.Flush();
    }

    /// <summary>What only the processes can do to their files; after <see cref="Place"/> for all of them.</summary>
    public void Complete(IReadOnlyDictionary<int, Restarted> processes)
    {
        scene.CallsOf = pid => processes[pid].Leader;
        foreach (var file in scene.Files.Where(f => !scene.IsMapped(f)))
        {
            var use = file.Uses[0];
            FileKinds.Of(file).Complete(file, use, processes[use.Process.Pid].Leader, scene);
        }

        foreach (var (pid, terminal) in terminals.Where(t => t.Value.Foreground != 0))
        {
            var leader = processes[pid].Leader;
            leader.Queue("ioctl(TIOCSPGRP)", SystemCalls.Ioctl, terminal.Number, SystemCalls.SetForegroundGroup, (long)leader.Place(BitConverter.GetBytes(terminal.Foreground)));
        }

        foreach (var process in processes.Values) process.Leader.Flush();
    }

    /// <summary>Closes what was inherited, and does what must come after that; when <see cref="Complete"/> is done.</summary>
    public void Finish(Restarted process, int firstInherited)
    {
        process.Leader.Queue("close_range", SystemCalls.CloseRange, firstInherited, uint.MaxValue, 0);
        // Locks come last: an epoll may have to close something.
        foreach (var epolls in (bool[])[true, false])
            foreach (var file in scene.Files)
                if (FileKinds.Of(file) is EpollFile == epolls && !scene.IsMapped(file)
                    && file.Uses.FirstOrDefault(u => u.Process.Pid == process.Message.Pid) is { Fd: not null } use)
                    FileKinds.Of(file).Finish(file, use, process.Leader, scene);

        process.Leader.Flush();
    }

    /// <summary>Has the files send signals again; when all processes and threads are there, with their handlers.</summary>
    public void Signal(IReadOnlyDictionary<int, Restarted> processes)
    {
        foreach (var file in scene.Files.Where(f => f.Record.Signals is not null && !scene.IsMapped(f)))
            FileSignals.Restore(file, file.Uses[0], processes[file.Uses[0].Process.Pid].Leader, scene);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var handle in handles) handle.Dispose();
    }

    // As a shell's redirection, what is written to is made. Not with O_CREAT at once: fs.protected_fifos and protected_regular, proc(5), refuse
    // that for what others have in /tmp.
    private static SafeFileHandle OpenInstead(string path, FileObject file)
    {
        const int create = 0x40, readAndWrite = 0x1b6; // O_CREAT, open(2); 0666, but for the umask
        try
        {
            return RawFile.Open(path, (RawOpen)file.Info.Flags);
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ENOENT && file.Access != 0)
        {
            return RawFile.Open(path, (RawOpen)(file.Info.Flags | create), readAndWrite);
        }
    }

    private SafeFileHandle? Open(FileObject file)
    {
        try
        {
            return scene.IsMapped(file)
                ? OpenInstead(file.Uses.Select(u => scene.MappedFds.GetValueOrDefault(u.Fd.Number)).First(p => p is not null)!, file)
                : FileKinds.Of(file).Open(file, scene);
        }
        catch (LinuxException e)
        {
            throw new EnvironmentException($"{file}: {e.Message}", "--map-fd N=PATH puts another file in its place", e);
        }
    }
}

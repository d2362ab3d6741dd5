using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Cli.Watching;

/// <summary>The one process that is watched, by a pidfd: its number may be another one's when it has ended. Waits for its end, and for whoever wakes it.</summary>
internal sealed class TargetLife : IDisposable
{
    private readonly PidFd _pidFd;
    private readonly SafeFileHandle _wake = EventFiles.CreateEvent(0, semaphore: false);
    private readonly PollSet _poll;

    private TargetLife(PidFd pidFd)
    {
        _pidFd = pidFd;
        _poll = new PollSet(pidFd.Handle, _wake);
        _poll.Watch(0, PollBits.In);
        _poll.Watch(1, PollBits.In);
    }

    /// <summary>It has ended.</summary>
    public bool HasEnded
    {
        get
        {
            Wait(TimeSpan.Zero);
            return (_poll.Found(0) & PollBits.In) != 0;
        }
    }

    /// <summary>Takes hold of it.</summary>
    /// <exception cref="TargetException">It has ended meanwhile.</exception>
    public static TargetLife Of(ProcessSketch target)
    {
        try
        {
            var life = new TargetLife(PidFd.Open(target.Pid));
            if (ProcessSketch.Read(target.Pid)?.StartTimeTicks == target.StartTimeTicks) return life;
            life.Dispose();
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ESRCH)
        {
            // As if its number were another one's.
        }

        throw new TargetException($"process {target.Pid} has ended");
    }

    /// <summary>Waits at most so long.</summary>
    public void Wait(TimeSpan longest) => _poll.Wait((int)Math.Clamp(Math.Ceiling(longest.TotalMilliseconds), 0, int.MaxValue));

    /// <summary>Ends the waiting, or the next one, until <see cref="Rearm"/>. By any thread.</summary>
    public void Wake() => RawFile.Write(_wake, BitConverter.GetBytes(1UL), "an eventfd");

    /// <summary>Waiting waits again. Who waits looks afterwards at what it may have been woken for: what comes then wakes it anew.</summary>
    public void Rearm()
    {
        _poll.Wait(0);
        if ((_poll.Found(1) & PollBits.In) != 0) RawFile.Read(_wake, stackalloc byte[8]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pidFd.Dispose();
        _wake.Dispose();
    }
}

using Crstore.Linux;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Capture.Freezing;

/// <summary>
/// A throw-away process to try the whole freeze path on before the first real freeze: code and data that are touched for the first time cost page faults, and
/// statics are initialized, while the target would stand still. It blocks reading a pipe, so it ends by itself when crstore dies.
/// </summary>
public sealed class Rehearsal : IDisposable
{
    private readonly SafeFileHandle _pipe;

    private Rehearsal(int pid, SafeFileHandle pipe) => (Pid, _pipe) = (pid, pipe);

    /// <summary>The throw-away process.</summary>
    public int Pid { get; }

    /// <summary>Starts one; null if the machine has none of the programs that would do, or no room for one more process.</summary>
    public static Rehearsal? TryStart()
    {
        (string Path, string[] Arguments)[] programs =
        [
            ("/bin/cat", ["cat"]),
            ("/usr/bin/cat", ["cat"]),
            ("/bin/sh", ["sh", "-c", "read line"]),
        ];
        foreach (var (path, arguments) in programs)
        {
            if (!File.Exists(path)) continue;
            var (read, write) = Spawn.Pipe();
            using (read)
            using (var sink = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            using (var files = new RehearsalFiles())
            {
                try
                {
                    return new Rehearsal(Spawn.Start(path, arguments, [(read, 0), (sink, 1), (sink, 2), .. files.Numbered]), write);
                }
                catch (LinuxException)
                {
                    write.Dispose(); // no process to be had (ulimit -u): the capture goes on without a rehearsal
                    return null;
                }
            }
        }
        return null;
    }

    /// <summary>Ends and reaps it.</summary>
    public void Dispose()
    {
        _pipe.Dispose();
        // SIGKILL as well: it must not matter in which state a failed rehearsal left it. ESRCH can't be: it isn't reaped yet,
        // unless SIGCHLD is ignored in this process, and then there is nothing to reap either.
        _ = Signals.TryKill(Pid, Signals.SIGKILL);
        for (var i = 0; i < 5000; i++)
        {
            if (ChildWait.Poll(Pid, reap: true).Kind is WaitKind.Dead or WaitKind.Unknown) return;
            Pause.Sleep(1000);
        }
    }
}

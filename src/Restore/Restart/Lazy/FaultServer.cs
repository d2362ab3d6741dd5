using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;
using Thread = System.Threading.Thread;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>Makes the pages that somebody waits for, on a thread of its own.</summary>
internal sealed class FaultServer : IDisposable
{
    private readonly IReadOnlyList<LazySpace> spaces;
    private readonly Action<Exception> failed;
    private readonly SafeFileHandle end = EventFiles.CreateEvent(0, semaphore: false);
    private readonly Thread thread;

    /// <summary>Begins.</summary>
    /// <param name="spaces">Whose; they are registered.</param>
    /// <param name="failed">Told why it had to stop: who waits for a page then waits for ever, and has to be ended.</param>
    public FaultServer(IReadOnlyList<LazySpace> spaces, Action<Exception> failed)
    {
        (this.spaces, this.failed) = (spaces, failed);
        thread = new Thread(Run) { IsBackground = true, Name = "crstore faults" };
        thread.Start();
    }

    /// <summary>Stops, when nobody waits for a page any more.</summary>
    public void Dispose()
    {
        if (end.IsClosed) return;
        RawFile.Write(end, BitConverter.GetBytes(1UL), "an eventfd");
        thread.Join();
        end.Dispose();
    }

    private void Run()
    {
        try
        {
            var poll = new PollSet([.. spaces.Select(s => s.Faults.Handle), end]);
            for (var i = 0; i <= spaces.Count; i++) poll.Watch(i, PollBits.In);
            while (true)
            {
                poll.Wait(-1);
                for (var i = 0; i < spaces.Count; i++)
                {
                    if ((poll.Found(i) & PollBits.In) == 0) continue;
                    while (spaces[i].Faults.TryReadFault(out var address)) spaces[i].Serve(address);
                }

                if (poll.Found(spaces.Count) != PollBits.None) return;
            }
        }
        catch (Exception e)
        {
            failed(e);
        }
    }
}

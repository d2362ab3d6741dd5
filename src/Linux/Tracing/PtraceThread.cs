using System.Runtime.ExceptionServices;

namespace Crstore.Linux;

/// <summary>
/// The one thread that does ptrace: the kernel ties a tracee to the thread that seized it, not to the process. When the
/// thread ends, by Dispose or with crstore, the kernel detaches whatever it still traces.
/// </summary>
public sealed class PtraceThread : IDisposable
{
    private readonly Thread _thread;
    private readonly Queue<Action> _work = new();
    private bool _ending;

    /// <summary>Starts the thread.</summary>
    public PtraceThread()
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = "ptrace" };
        _thread.Start();
    }

    /// <summary>Runs it on the ptrace thread and waits; its exception comes back here with its stack.</summary>
    public T Run<T>(Func<T> work)
    {
        if (Thread.CurrentThread == _thread) return work();
        T result = default!;
        ExceptionDispatchInfo? failure = null;
        using var done = new ManualResetEventSlim();
        lock (_work)
        {
            ObjectDisposedException.ThrowIf(_ending, this);
            _work.Enqueue(() =>
            {
                try
                {
                    result = work();
                }
                catch (Exception e)
                {
                    failure = ExceptionDispatchInfo.Capture(e);
                }
                finally
                {
                    done.Set();
                }
            });
            Monitor.Pulse(_work);
        }
        done.Wait();
        failure?.Throw();
        return result;
    }

    /// <summary>Runs it on the ptrace thread and waits; its exception comes back here.</summary>
    public void Run(Action work) => Run<object?>(() =>
    {
        work();
        return null;
    });

    /// <summary>Has it done on the ptrace thread, and doesn't wait. It must not throw.</summary>
    public void Begin(Action work)
    {
        lock (_work)
        {
            ObjectDisposedException.ThrowIf(_ending, this);
            _work.Enqueue(work);
            Monitor.Pulse(_work);
        }
    }

    /// <summary>Ends the thread after what is queued. Must not be called on it.</summary>
    public void Dispose()
    {
        lock (_work)
        {
            _ending = true;
            Monitor.Pulse(_work);
        }
        _thread.Join();
    }

    private void Loop()
    {
        while (true)
        {
            Action work;
            lock (_work)
            {
                while (_work.Count == 0)
                {
                    if (_ending) return;
                    Monitor.Wait(_work);
                }
                work = _work.Dequeue();
            }
            work();
        }
    }
}

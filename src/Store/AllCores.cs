using System.Runtime.ExceptionServices;

namespace Crstore.Store;

/// <summary>
/// Parallel loops whose errors are those of the body: the user is told what is wrong, not that "one or more errors occurred".
/// Not <see cref="Parallel.For(int, int, Action{int})"/>: the first one in a process takes it 20 ms and more to compile and to set up its tracing, a tenth of a restore.
/// </summary>
internal static class AllCores
{
    /// <summary>Threads of a loop: what runs beside a program that is to go on undisturbed leaves it a processor.</summary>
    public static int Threads { get; set; } = Environment.ProcessorCount;

    /// <summary>Runs the body for <paramref name="from"/> up to <paramref name="to"/>, without it, on the calling thread and others.</summary>
    /// <exception cref="Exception">The first one that the body has thrown; numbers that were not begun by then are left out.</exception>
    public static void For(int from, int to, Action<int> body)
    {
        var loop = new Loop(from, to, body);
        for (var others = Math.Min(Threads, to - from) - 1; others > 0; others--) Helpers.Offer(loop);
        loop.Complete();
    }

    /// <summary>Runs the body for each item.</summary>
    public static void ForEach<T>(IEnumerable<T> items, Action<T> body)
    {
        try
        {
            Parallel.ForEach(items, body);
        }
        catch (AggregateException e) when (e.Flatten().InnerExceptions is [var first, ..])
        {
            ExceptionDispatchInfo.Throw(first);
        }
    }

    /// <summary>
    /// Threads that help, one for each further processor: not those of the pool, where what an increment has to compress would come first, while the thread that
    /// makes work for all of them goes through its loop alone.
    /// </summary>
    private static class Helpers
    {
        private static readonly Queue<Loop> Offered = new();
        private static int threads, idle;

        public static void Offer(Loop loop)
        {
            lock (Offered)
            {
                Offered.Enqueue(loop);
                if (idle >= Offered.Count) Monitor.Pulse(Offered);
                else if (threads < Math.Max(1, Environment.ProcessorCount - 1)) TryStart();
            }
        }

        // Where no more threads may be made (pids.max, RLIMIT_NPROC) a loop goes on with those that there are: an error would leave them in it.
        private static void TryStart()
        {
            try
            {
                new Thread(Run) { IsBackground = true, Name = $"crstore loop {threads + 1}" }.Start();
                threads++;
            }
            catch (OutOfMemoryException)
            {
                if (threads == 0) Offered.Clear(); // nobody comes for them
            }
        }

        private static void Run()
        {
            while (true) Next().Execute();
        }

        private static Loop Next()
        {
            lock (Offered)
            {
                Loop? loop;
                while (!Offered.TryDequeue(out loop))
                {
                    idle++;
                    Monitor.Wait(Offered);
                    idle--;
                }

                return loop;
            }
        }
    }

    /// <summary>Threads that come late find it closed, so that nobody waits for helpers that are busy with loops inside of loops.</summary>
    private sealed class Loop(int from, int to, Action<int> body)
    {
        private readonly object gate = new();
        private Exception? failure;
        private int next = from, inside;
        private bool closed;

        public void Execute()
        {
            lock (gate)
            {
                if (closed) return;
                inside++;
            }

            Run();
            lock (gate)
                if (--inside == 0) Monitor.PulseAll(gate);
        }

        public void Complete()
        {
            Run();
            lock (gate)
            {
                closed = true;
                while (inside > 0) Monitor.Wait(gate);
            }

            if (failure is not null) ExceptionDispatchInfo.Throw(failure);
        }

        private void Run()
        {
            while (Volatile.Read(ref failure) is null)
            {
                var number = Interlocked.Increment(ref next) - 1;
                if (number >= to) return;
                try
                {
                    body(number);
                }
                catch (Exception e)
                {
                    Interlocked.CompareExchange(ref failure, e, null);
                }
            }
        }
    }
}

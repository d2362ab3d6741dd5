using System.Collections.Concurrent;
using System.Globalization;
using System.Linq.Expressions;
using System.Security.Cryptography;

namespace Crstore.ManagedTarget;

/// <summary>
/// A .NET program that checks itself: threads that hash, collect garbage and compile code, timers and tasks of the thread pool. Says "ready",
/// answers every line with "ok N T" (its own count, and that everything has moved since), or "FAIL" and why.
/// </summary>
internal static class Program
{
    private static readonly long[] Rounds = new long[4];
    private static readonly ConcurrentDictionary<int, string> Words = new();
    private static volatile string _failure = "";

    private static async Task<int> Main()
    {
        for (var i = 0; i < Rounds.Length - 1; i++)
        {
            var index = i;
            new Thread(() => Work(index)) { IsBackground = true, Name = $"worker {index}" }.Start();
        }

        using var timer = new Timer(_ => Interlocked.Increment(ref Rounds[^1]), null, 10, 10);
        await Console.Out.WriteLineAsync("ready");
        for (var n = 1; await Console.In.ReadLineAsync() is { } line; n++)
        {
            Words[n] = line;
            Array.Clear(Rounds);
            for (var wait = 0; wait < 30_000 && Rounds.Min() < 2; wait++) await Task.Delay(10);
            var sum = await Task.Run(() => Enumerable.Range(0, n).AsParallel().Sum());
            Console.WriteLine(_failure.Length > 0 ? $"FAIL {_failure}" : Rounds.Min() < 2 ? $"FAIL stands still: {string.Join(' ', Rounds)}"
                : string.Create(CultureInfo.InvariantCulture, $"ok {n} {Words.Count} {sum} {string.Concat(Words.OrderBy(w => w.Key).Select(w => w.Value))}"));
        }

        return 3;
    }

    private static void Work(int index)
    {
        try
        {
            var want = Chain(index);
            for (var round = 0; ; round++)
            {
                if (!Chain(index).AsSpan().SequenceEqual(want)) _failure = $"worker {index} has hashed wrongly";
                if (index == 0) GC.Collect(Random.Shared.Next(3));
                if (index == 1 && Compile(round)(2) != round * 2 + 1) _failure = "compiled code is wrong";
                Thread.Sleep(1);
                Interlocked.Increment(ref Rounds[index]);
            }
        }
        catch (Exception e)
        {
            _failure = e.ToString();
            throw;
        }
    }

    private static Func<int, int> Compile(int factor)
    {
        var x = Expression.Parameter(typeof(int));
        return Expression.Lambda<Func<int, int>>(Expression.Add(Expression.Multiply(x, Expression.Constant(factor)), Expression.Constant(1)), x).Compile();
    }

    private static byte[] Chain(int seed)
    {
        var value = new byte[] { (byte)seed };
        for (var i = 0; i < 100; i++) value = SHA256.HashData(value);
        return value;
    }
}

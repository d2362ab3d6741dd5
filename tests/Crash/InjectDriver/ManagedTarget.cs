using System.Security.Cryptography;

namespace Crstore.InjectDriver;

/// <summary>A .NET program that checks itself: says "ready", answers every line but "quit" with "ok rounds N" (of of the slowest thread since), or "FAIL".</summary>
internal static class ManagedTarget
{
    private static readonly long[] Rounds = new long[3];
    private static volatile bool _failed;

    public static int Run()
    {
        for (var i = 0; i < Rounds.Length; i++)
        {
            var index = i;
            new Thread(() => Work(index)) { IsBackground = true }.Start();
        }
        Console.WriteLine("ready");
        while (Console.ReadLine() is not (null or "quit"))
        {
            Console.WriteLine(_failed ? "FAIL" : $"ok rounds {Rounds.Min()}");
            Array.Clear(Rounds);
        }
        return 0;
    }

    private static void Work(int index)
    {
        var want = Chain(index);
        while (true)
        {
            if (!Chain(index).AsSpan().SequenceEqual(want)) _failed = true;
            if (index == 0) GC.Collect(Random.Shared.Next(3));
            Thread.Sleep(1);
            Interlocked.Increment(ref Rounds[index]);
        }
    }

    private static byte[] Chain(int seed)
    {
        var value = new byte[] { (byte)seed };
        for (var i = 0; i < 100; i++) value = SHA256.HashData(value);
        return value;
    }
}

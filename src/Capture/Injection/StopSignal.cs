using Crstore.Linux;

namespace Crstore.Capture.Injection;

/// <summary>
/// A signal that stops a thread on loan behind its calls, and is nothing to it without a tracer: crstore sends it while it is blocked, the injected code unblocks it. Its default is
/// to be ignored, there is no handler, and the thread doesn't block it by itself: what is pending when crstore dies is dropped by the kernel, like one that anybody might have sent.
/// </summary>
internal static class StopSignal
{
    /// <summary>Ignored by default, signal(7), and seldom caught. Not SIGCONT: it takes back pending stops.</summary>
    private static readonly int[] Candidates = [Signals.SIGURG, Signals.SIGWINCH, Signals.SIGCHLD];

    /// <summary>One that will do, or 0.</summary>
    /// <param name="caught">Signals with a handler, bit n-1 for signal n.</param>
    /// <param name="mask">The thread's own mask.</param>
    public static int Choose(ulong caught, ulong mask)
    {
        foreach (var signal in Candidates)
            if (((caught | mask) & Bit(signal)) == 0) return signal;
        return 0;
    }

    /// <summary>All blocked but this one.</summary>
    public static ulong AllBut(int signal) => Signals.AllBlocked & ~Bit(signal);

    private static ulong Bit(int signal) => 1UL << (signal - 1);
}
